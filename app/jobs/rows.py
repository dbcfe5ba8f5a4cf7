"""Jobs, events and artifacts as database rows, and what is written beside each change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select, update

from app.database.tables import artifacts, job_events, jobs
from app.jobs.job import Job, JobState
from app.reports.report import Verdict

JOB_COLUMNS = tuple(jobs.c[field.name] for field in fields(Job))


@dataclass(frozen=True)
class NewEvent:
    """Something that happened to a job, before it has its number."""

    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class JobEvent:
    """One entry of a job's history; `seq` counts from 1 without gaps."""

    seq: int
    at: datetime
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """One file that a job made; its bytes are the blob named `sha256`."""

    id: str
    job_id: str
    kind: str
    format: str
    filename: str
    size_bytes: int
    sha256: str
    created_at: datetime


def job_of(row: Mapping[Any, Any]) -> Job:
    values = dict(row)
    values["state"] = JobState(values["state"])
    values["verdict"] = Verdict(values["verdict"]) if values["verdict"] else None
    return Job(**values)


def owned(tenant_id: str, job_id: str) -> ColumnElement[bool]:
    """The condition that names a job for who asks: one of another tenant is not there."""
    return (jobs.c.tenant_id == tenant_id) & (jobs.c.id == job_id)


def locked_job(connection: Connection, which: ColumnElement[bool]) -> Job | None:
    """The job as it is now and stays until this transaction ends: nobody else can move it."""
    # SQLite locks the whole database at the start of a write, and ignores FOR UPDATE.
    query = select(*JOB_COLUMNS).where(which).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    return job_of(row) if row else None


def artifact_of(row: RowMapping) -> Artifact:
    return Artifact(**{column.name: row[column.name] for column in artifacts.c})


def append_events(
    connection: Connection, job_id: str, events: Sequence[NewEvent], now: datetime
) -> None:
    """Number the events and store them.

    The job's row counts them and is locked by the count, so that two writers never share a number.
    """
    if not events:
        return
    counted = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(event_count=jobs.c.event_count + len(events))
        .returning(jobs.c.event_count)
    ).scalar_one()
    first = counted - len(events) + 1
    connection.execute(
        insert(job_events),
        [
            {"job_id": job_id, "seq": first + index, "at": now, "type": e.type, "data": e.data}
            for index, e in enumerate(events)
        ],
    )


def state_event(state: JobState, **facts: Any) -> NewEvent:
    """The event of a change of state."""
    return NewEvent("state", {"state": state.value, **facts})
