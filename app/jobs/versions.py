"""Where many jobs stand, in few queries: for who watches them all at once."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from app.database.engine import Database
from app.database.tables import jobs
from app.jobs.job import JobState


@dataclass(frozen=True)
class JobVersion:
    """Moves with its job: two that are equal have nothing to tell between them."""

    version: int
    event_count: int
    is_final: bool
    queue_position: int | None


def versions_of(
    database: Database, job_ids: Collection[str], placed: Collection[str]
) -> dict[str, JobVersion]:
    """Of jobs of any tenants; their places in the queue only for those that are `placed`, too."""
    job = jobs.c
    query = select(job.id, job.tenant_id, job.state, job.version, job.event_count)
    with database.read() as connection:
        rows = connection.execute(query.where(job.id.in_(job_ids))).all()
        queued = [row for row in rows if row.state == JobState.QUEUED and row.id in placed]
        places = _places(connection, {row.tenant_id for row in queued}) if queued else {}
    return {
        row.id: JobVersion(
            row.version, row.event_count, JobState(row.state).is_final, places.get(row.id)
        )
        for row in rows
    }


def _places(connection: Connection, tenant_ids: Collection[str]) -> dict[str, int]:
    """Of all that these tenants have queued, each among those of its own tenant."""
    place = func.row_number().over(
        partition_by=jobs.c.tenant_id, order_by=(jobs.c.queued_at, jobs.c.id)
    )
    query = select(jobs.c.id, place.label("place")).where(
        jobs.c.tenant_id.in_(tenant_ids), jobs.c.state == JobState.QUEUED
    )
    return {row.id: row.place for row in connection.execute(query)}
