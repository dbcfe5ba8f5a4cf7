"""What is written for a new job: its row, what it uses, what it is looked up by."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, insert, select

from app.database.tables import job_labels, job_uploads, jobs, uploads
from app.errors import Complaint, Invalid
from app.jobs.job import JobState
from app.jobs.request import JobRequest
from app.jobs.rows import append_events, state_event
from app.jobs.sizes import bytes_of_new


@dataclass(frozen=True)
class NewJob:
    """A job that is about to be queued, at the time `now`."""

    id: str
    tenant_id: str
    request: JobRequest
    now: datetime
    retry_of: str | None

    @cached_property
    def body(self) -> dict[str, Any]:
        return self.request.model_dump(mode="json")

    @property
    def row_bytes(self) -> int:
        return bytes_of_new(self.body)


def insert_job(connection: Connection, job: NewJob) -> None:
    """Raises: Invalid where the model or the data set was deleted meanwhile."""
    request = job.request
    _hold_uploads(connection, job.tenant_id, request)
    connection.execute(
        insert(jobs).values(
            id=job.id,
            tenant_id=job.tenant_id,
            name=request.name,
            state=JobState.QUEUED,
            request=job.body,
            model_id=request.model_id,
            dataset_id=request.dataset_id,
            tags=request.tags,
            progress=0.0,
            attempt=0,
            fence=0,
            cancel_requested=False,
            retry_of=job.retry_of,
            version=1,
            event_count=0,
            row_bytes=job.row_bytes,
            created_at=job.now,
            queued_at=job.now,
            queue_expires_at=job.now + timedelta(seconds=request.limits.queue_s),
        )
    )
    used = set(request.upload_ids().values())
    connection.execute(
        insert(job_uploads), [{"job_id": job.id, "upload_id": upload_id} for upload_id in used]
    )
    if labels := list(_labels(job.id, request)):
        connection.execute(insert(job_labels), labels)
    append_events(connection, job.id, [state_event(JobState.QUEUED)], job.now)


def _hold_uploads(connection: Connection, tenant_id: str, request: JobRequest) -> None:
    """Keep what the job needs from being deleted until the job is there to forbid it."""
    wanted = request.upload_ids()
    is_wanted = (uploads.c.tenant_id == tenant_id) & uploads.c.id.in_(set(wanted.values()))
    query = select(uploads.c.id).where(is_wanted).with_for_update(read=True)
    held = set(connection.execute(query).scalars())
    missing = [
        Complaint(pointer=pointer, detail=f"{id_!r} was deleted meanwhile")
        for pointer, id_ in wanted.items()
        if id_ not in held
    ]
    if missing:
        raise Invalid(missing[0].detail, errors=missing)


def _labels(job_id: str, request: JobRequest) -> list[Mapping[str, Any]]:
    techniques = {step.technique for step in request.recipe.steps}
    return [
        *({"job_id": job_id, "kind": "technique", "key": t, "value": ""} for t in techniques),
        *(
            {"job_id": job_id, "kind": "tag", "key": key, "value": value}
            for key, value in request.tags.items()
        ),
    ]
