"""Rows as views: what is stored, as the API shows it."""

from datetime import datetime
from typing import Any

from app.api.problems import stored_view
from app.errors import Problem, ProblemView
from app.jobs.job import Job
from app.jobs.rows import Artifact, JobEvent
from app.jobs.service import JobDetails
from app.jobs.views import ArtifactView, EventView, JobView, eta_s
from app.uploads.upload import Upload
from app.uploads.views import DatasetView, ModelView


def job_path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def job_etag(details: JobDetails) -> str:
    """Weak: between two changes of the job only its `eta_s` moves."""
    return f'W/"{details.job.version}-{details.queue_position or 0}"'


def job_view(details: JobDetails, now: datetime) -> JobView:
    job = details.job
    return JobView(
        id=job.id,
        name=job.name,
        state=job.state,
        phase=job.phase,
        progress=job.progress,
        queue_position=details.queue_position,
        eta_s=eta_s(job, now),
        verdict=job.verdict,
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        model_id=job.model_id,
        dataset_id=job.dataset_id,
        teacher_model_id=job.request["teacher_model_id"],
        student_model_id=job.request["student_model_id"],
        recipe=job.request["recipe"],
        constraints=job.request["constraints"],
        outputs=job.request["outputs"],
        control=job.request["control"],
        limits=job.request["limits"],
        tags=job.tags,
        error=_stored_error(job),
        report=job.report,
        artifacts=[artifact_view(artifact) for artifact in details.artifacts],
        retry_of=job.retry_of,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _stored_error(job: Job) -> ProblemView | None:
    if job.error is None:
        return None
    return stored_view(Problem.model_validate(job.error), job_path(job.id))


def artifact_view(artifact: Artifact) -> ArtifactView:
    return ArtifactView.model_validate(
        {**vars(artifact), "url": f"/v1/artifacts/{artifact.id}/content"}
    )


def event_view(event: JobEvent) -> EventView:
    return EventView(seq=event.seq, at=event.at, type=event.type, data=event.data)


def model_view(upload: Upload) -> ModelView:
    return ModelView.model_validate(_shared(upload, f"/v1/models/{upload.id}"))


def dataset_view(upload: Upload) -> DatasetView:
    shared = _shared(upload, f"/v1/datasets/{upload.id}")
    return DatasetView.model_validate({**shared, "options": upload.options})


def _shared(upload: Upload, path: str) -> dict[str, Any]:
    return {
        "id": upload.id,
        "name": upload.name,
        "format": upload.format,
        "size_bytes": upload.size_bytes,
        "sha256": upload.sha256,
        "status": upload.status,
        "inspection": upload.inspection,
        "problem": stored_view(upload.problem, path) if upload.problem else None,
        "created_at": upload.created_at,
    }
