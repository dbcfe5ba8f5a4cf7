"""What the rows of a job come to in bytes, as its tenant's storage counts them.

A request is counted when it is taken in. What is written while the job runs is bounded, and counted
once, when the job ends: a sum at each event would be paid for by every reader of the job's row.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, select

from app.database.engine import json_bytes
from app.database.tables import job_events, jobs

# Beside the JSON that they hold: a job's columns, labels and indices; those of one event.
JOB_BYTES = 1024
EVENT_BYTES = 100


def bytes_of_new(request: Mapping[str, Any]) -> int:
    return JOB_BYTES + json_bytes(request)


def bytes_of_ended(*results: object) -> ColumnElement[int]:
    """In the UPDATE that ends a job: what it had, its events, and what it ends with."""
    said = func.sum(func.length(cast(job_events.c.data, Text)) + EVENT_BYTES)
    events = select(func.coalesce(said, 0)).where(job_events.c.job_id == jobs.c.id)
    return jobs.c.row_bytes + events.scalar_subquery() + json_bytes(*results)
