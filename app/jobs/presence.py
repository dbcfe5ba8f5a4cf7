"""Which workers were seen lately."""

from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from app.database.engine import Database
from app.database.tables import workers

MEMORY = timedelta(days=1)


class WorkerPresence:
    """Every worker says now and then that it lives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, worker: str, now: datetime) -> None:
        with self._database.write() as connection:
            seen = connection.execute(
                update(workers).where(workers.c.name == worker).values(seen_at=now)
            )
            if seen.rowcount == 0:
                connection.execute(insert(workers).values(name=worker, seen_at=now))
                connection.execute(delete(workers).where(workers.c.seen_at < now - MEMORY))

    def leave(self, worker: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))

    def live_workers(self, now: datetime, max_age_s: float) -> list[str]:
        query = (
            select(workers.c.name)
            .where(workers.c.seen_at > now - timedelta(seconds=max_age_s))
            .order_by(workers.c.name)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())
