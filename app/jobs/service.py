"""What can be done with jobs: check one, submit it, follow it, cancel it, run it again."""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.accounts.audited_changes import AuditedChange
from app.database.engine import Database
from app.errors import IllegalTransition, NotFound, NotReady, PenjingError, RequestInFlight
from app.jobs.inputs import read_facts
from app.jobs.job import Job, JobState
from app.jobs.listing import JobFilter, JobPage, list_jobs
from app.jobs.queue import Queue
from app.jobs.request import JobRequest
from app.jobs.rows import Artifact, JobEvent
from app.jobs.store import Idempotency, JobStore
from app.jobs.versions import JobVersion, versions_of
from app.recipes.check import check, check_alone
from app.recipes.plan import Plan
from app.uploads.store import UploadStore

log = logging.getLogger(__name__)


class NoReport(NotFound):
    code = "no_report"
    title = "This job has no report and will not get one"


@dataclass(frozen=True)
class JobDetails:
    """A job with what is not in its row."""

    job: Job
    queue_position: int | None
    artifacts: Sequence[Artifact]


@dataclass(frozen=True)
class JobService:
    """The use cases. The database is the truth; the queue only wakes a worker."""

    database: Database
    store: JobStore
    queue: Queue
    uploads: UploadStore
    clock: Callable[[], datetime]
    in_flight: set[tuple[str, str]] = field(default_factory=set)

    def plan(self, tenant_id: str, request: JobRequest) -> Plan:
        """What a job would do; no side effect.

        Raises: Invalid with every complaint, NotReady while an upload is still being inspected.
        """
        given = read_facts(self.uploads, tenant_id, request)
        recipe = request.resolved_recipe()
        if given is None:
            return check_alone(recipe)
        return check(recipe, request.outputs, given, request.constraints)

    def submit(self, change: AuditedChange, request: JobRequest, key: str | None) -> Job:
        """Store a job and tell a worker. The same `key` and request give the same job again.

        Raises: what `plan` and `JobStore.add` raise, RequestInFlight.
        """
        tenant_id = change.tenant_id
        if key is None:
            self.plan(tenant_id, request)
            return self._add(change, request)
        idempotency = Idempotency(f"submit:{key}", _digest(request.model_dump(mode="json")))
        with self._alone((tenant_id, idempotency.key)):
            if earlier := self.store.replayed(tenant_id, idempotency, self.clock()):
                return earlier
            self.plan(tenant_id, request)
            return self._add(change, request, idempotency=idempotency)

    def retry(self, change: AuditedChange, job_id: str) -> Job:
        """A new job with the request of a final one; while that is not final, the same one again.

        Raises: NotFound, IllegalTransition where the job is not final, what `plan` and
            `JobStore.add` raise.
        """
        tenant_id = change.tenant_id
        job = self.store.get(tenant_id, job_id)
        if not job.state.is_final:
            raise IllegalTransition(
                f"job {job.id} is {job.state}; only a job that is final can be run again",
                hint="Wait for it, or cancel it first.",
            )
        request = JobRequest.model_validate(job.request)
        self.plan(tenant_id, request)
        prefix = f"retry:{job.id}:"
        number, earlier = self.store.last_made(tenant_id, prefix, self.clock()) or (0, None)
        if earlier and not earlier.state.is_final:
            return earlier
        # Who asks at the same moment takes the same number: the database lets one of them have it.
        idempotency = Idempotency(f"{prefix}{number + 1}", _digest(job.request))
        return self._add(change, request, retry_of=job.id, idempotency=idempotency)

    def details(self, tenant_id: str, jobs: Sequence[Job]) -> list[JobDetails]:
        """Of each; two queries at most, and only for what jobs of these states can have."""
        queued = [job.id for job in jobs if job.state is JobState.QUEUED]
        final = [job.id for job in jobs if job.state.is_final]
        positions = self.store.queue_positions(tenant_id, queued) if queued else {}
        artifacts = self.store.artifacts_of(tenant_id, final) if final else {}
        return [JobDetails(job, positions.get(job.id), artifacts.get(job.id, ())) for job in jobs]

    def get(self, tenant_id: str, job_id: str) -> Job:
        return self.store.get(tenant_id, job_id)

    def page(self, tenant_id: str, wanted: JobFilter, limit: int, cursor: str | None) -> JobPage:
        return list_jobs(self.database, tenant_id, wanted, limit, cursor)

    def cancel(self, change: AuditedChange, job_id: str) -> Job:
        """Ask for the end of a job. Final jobs stay as they are."""
        return self.store.request_cancel(change, job_id, self.clock())

    def delete(self, change: AuditedChange, job_id: str) -> None:
        """Forget a final job; the bytes of its artifacts go with the next sweep.

        Raises: NotFound, IllegalTransition where the job is not final.
        """
        job = self.store.delete(change, job_id, self.clock())
        if job is not None:
            raise IllegalTransition(
                f"job {job.id} is {job.state}; only a job that is final can be deleted",
                hint="Wait for it, or cancel it first.",
            )

    def news(
        self, tenant_id: str, job_id: str, after: int, limit: int
    ) -> tuple[Sequence[JobEvent], bool]:
        """Events after this one, and whether the job was final before they were read."""
        is_final = self.store.state_of(tenant_id, job_id).is_final
        return self.store.events(tenant_id, job_id, after, limit), is_final

    def versions(self, job_ids: Collection[str], placed: Collection[str]) -> dict[str, JobVersion]:
        """Where jobs stand, whosever they are: for who was let in to them."""
        return versions_of(self.database, job_ids, placed)

    def report(self, tenant_id: str, job_id: str) -> dict[str, Any]:
        """Raises: NotFound; NotReady, NoReport where there is none."""
        job = self.store.get(tenant_id, job_id)
        if job.report is None:
            raise _missing(job, "report")
        return job.report

    def layers(self, tenant_id: str, job_id: str) -> list[dict[str, Any]]:
        """Raises: NotFound; NotReady, NoReport where there are none."""
        layers = self.store.layers(tenant_id, job_id)
        if layers is None:
            raise _missing(self.store.get(tenant_id, job_id), "per-layer table")
        return layers

    def artifacts(self, tenant_id: str, job_id: str) -> Sequence[Artifact]:
        """Raises: NotFound."""
        self.store.state_of(tenant_id, job_id)
        return self.store.artifacts(tenant_id, job_id)

    def artifact(self, tenant_id: str, artifact_id: str) -> Artifact:
        """Raises: NotFound."""
        return self.store.artifact(tenant_id, artifact_id)

    def _add(
        self,
        change: AuditedChange,
        request: JobRequest,
        *,
        retry_of: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Job:
        now = self.clock()
        job = self.store.add(change, request, now=now, retry_of=retry_of, idempotency=idempotency)
        try:
            self.queue.send(job.id)
        except Exception as error:  # noqa: BLE001 - the job is stored: the reaper sends it again
            log.warning("job.not_sent", extra={"job_id": job.id, "error": type(error).__name__})
        else:
            self.store.mark_sent(job.id, now)
        return job

    @contextmanager
    def _alone(self, key: tuple[str, str]) -> Iterator[None]:
        """One request with a key at a time; the database settles what other processes do."""
        if key in self.in_flight:
            raise RequestInFlight("a request with the same Idempotency-Key is being handled")
        self.in_flight.add(key)
        try:
            yield
        finally:
            self.in_flight.discard(key)


def _digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _missing(job: Job, what: str) -> PenjingError:
    if job.state.is_final:
        return NoReport(f"job {job.id} ended {job.state}, without a {what}")
    return NotReady(
        f"job {job.id} is {job.state}; its {what} comes when it has succeeded",
        hint=f"GET /v1/jobs/{job.id} with 'Prefer: wait=30' waits for it.",
    )
