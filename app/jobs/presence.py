"""Which workers were seen lately, and how far what they run is confined."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, insert, select, update

from app.database.engine import Database
from app.database.tables import workers

MEMORY = timedelta(days=1)


class Standing(StrEnum):
    """Whether what a worker runs is confined; one that cannot do it takes no jobs.

    One that does not say so is older than the question.
    """

    CONFINED = "confined"
    UNCONFINED = "unconfined"
    TAKES_NONE = "takes_none"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Box:
    """How far the box of a worker held when that one tried it.

    Args:
        landlock_abi: which edition of Landlock restricts files.
        user: under whose number its jobs run, in words.
        lacking: what is left to fewer layers here, in words.
    """

    landlock_abi: int
    user: str
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class Worker:
    """`box` is null where it does not hold, and of a worker that is older than the question."""

    name: str
    standing: Standing
    box: Box | None

    @property
    def token(self) -> str:
        """Tells workers apart, and says nothing of their hosts: for who may not know those."""
        return self.name.rpartition("-")[2]


class WorkerPresence:
    """Every worker says now and then that it lives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, worker: str, now: datetime, standing: Standing, box: Box | None = None) -> None:
        values = {"seen_at": now, "confinement": standing, "box": asdict(box) if box else None}
        with self._database.write() as connection:
            seen = connection.execute(
                update(workers).where(workers.c.name == worker).values(values)
            )
            if seen.rowcount == 0:
                connection.execute(insert(workers).values(name=worker, **values))
                connection.execute(delete(workers).where(workers.c.seen_at < now - MEMORY))

    def leave(self, worker: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))

    def live_workers(self, now: datetime, max_age_s: float) -> list[Worker]:
        """By name."""
        query = (
            select(workers.c.name, workers.c.confinement, workers.c.box)
            .where(workers.c.seen_at > now - timedelta(seconds=max_age_s))
            .order_by(workers.c.name)
        )
        with self._database.read() as connection:
            return [
                Worker(row.name, Standing(row.confinement), _box_of(row.box))
                for row in connection.execute(query)
            ]


def _box_of(stored: dict[str, Any] | None) -> Box | None:
    return Box(**{**stored, "lacking": tuple(stored["lacking"])}) if stored else None
