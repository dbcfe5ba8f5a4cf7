"""What happened to a job, read a bounded piece at a time."""

from sqlalchemy import Connection, Text, cast, func, select

from app.database.tables import job_events, jobs
from app.jobs.rows import JobEvent, owned

# What one read takes into memory, as stored. The event that passes it is the last one.
MOST_BYTES_A_READ = 2**20
# What the database sends at once: no more than a few of the largest events.
ROWS_AT_ONCE = 10


def read_events(
    connection: Connection, tenant_id: str, job_id: str, after: int, limit: int
) -> list[JobEvent]:
    """Events with a number above `after`, in order: one, if there are any, or as many as fit."""
    event = job_events.c
    # Stored JSON is ASCII: its length is its size.
    size = func.length(cast(event.data, Text)).label("size")
    query = (
        select(event.seq, event.at, event.type, event.data, size)
        .join(jobs, jobs.c.id == event.job_id)
        .where(owned(tenant_id, job_id), event.seq > after)
        .order_by(event.seq)
        .limit(limit)
    )
    events: list[JobEvent] = []
    room = MOST_BYTES_A_READ
    options = {"yield_per": ROWS_AT_ONCE}
    with connection.execute(query, execution_options=options) as rows:
        for row in rows:
            events.append(JobEvent(row.seq, row.at, row.type, row.data))
            room -= row.size
            if room <= 0:
                break
    return events
