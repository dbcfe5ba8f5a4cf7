"""Which workers were seen lately."""

from datetime import datetime, timedelta
from enum import StrEnum

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


class WorkerPresence:
    """Every worker says now and then that it lives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, worker: str, now: datetime, standing: Standing) -> None:
        values = {"seen_at": now, "confinement": standing}
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

    def live_workers(self, now: datetime, max_age_s: float) -> list[str]:
        return list(self.standings(now, max_age_s))

    def standings(self, now: datetime, max_age_s: float) -> dict[str, Standing]:
        """Of every worker that lives, by name."""
        query = (
            select(workers.c.name, workers.c.confinement)
            .where(workers.c.seen_at > now - timedelta(seconds=max_age_s))
            .order_by(workers.c.name)
        )
        with self._database.read() as connection:
            return {row.name: Standing(row.confinement) for row in connection.execute(query)}
