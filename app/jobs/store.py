"""Jobs as the asking side sees them: add, read, list, cancel. The database is the truth."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from app.accounts.audited_changes import AuditedChange, record_change
from app.accounts.quotas import NO_QUOTAS, Quotas, quotas_of
from app.database.engine import Database
from app.database.tables import (
    artifacts,
    idempotency_keys,
    job_uploads,
    jobs,
)
from app.errors import IdempotencyKeyReused, NotFound
from app.ids import new_id
from app.jobs.admission import JobUsage, require_room, usage_of
from app.jobs.history import read_events
from app.jobs.job import Job, JobState
from app.jobs.new_job import NewJob, insert_job
from app.jobs.request import JobRequest
from app.jobs.rows import (
    JOB_COLUMNS,
    Artifact,
    JobEvent,
    append_events,
    artifact_of,
    job_of,
    locked_job,
    owned,
    state_event,
)
from app.jobs.sizes import bytes_of_ended

ACTIVE = (JobState.QUEUED, JobState.RUNNING)
IDEMPOTENCY_TTL = timedelta(hours=24)


@dataclass(frozen=True)
class Idempotency:
    """A client's key, and the digest of the request that came with it."""

    key: str
    digest: str


class JobStore:
    """What may be asked about jobs. Moves are single conditional statements.

    A job of another tenant is not there: it is found by no query.
    """

    def __init__(self, database: Database, quotas: Quotas = NO_QUOTAS) -> None:
        self._database = database
        self._quotas = quotas

    def add(
        self,
        change: AuditedChange,
        request: JobRequest,
        *,
        now: datetime,
        retry_of: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Job:
        """Store a queued job, or answer with the one that this key made before.

        Job and key are one transaction: a crash leaves both or neither.
        Raises: IdempotencyKeyReused where the key came with another request; Invalid where model
            or data set were deleted meanwhile; what `require_room` and `record_change` raise.
        """
        tenant_id = change.tenant_id
        if idempotency and (earlier := self.replayed(tenant_id, idempotency, now)):
            return earlier
        job = NewJob(new_id("job"), tenant_id, request, now, retry_of)
        try:
            with self._database.write() as connection:
                require_room(connection, job, self._quotas)
                insert_job(connection, job)
                if idempotency:
                    _remember(connection, idempotency, job)
                record_change(connection, change, job.id, now)
        except IntegrityError:
            # Another request with this key was first, between our look and our write.
            if idempotency and (earlier := self.replayed(tenant_id, idempotency, now)):
                return earlier
            raise
        return self.get(tenant_id, job.id)

    def replayed(self, tenant_id: str, idempotency: Idempotency, now: datetime) -> Job | None:
        """The job that this key made, if it did within the last day.

        Raises: IdempotencyKeyReused where the key came with another request.
        """
        key = idempotency_keys.c
        with self._database.read() as connection:
            row = connection.execute(
                select(key.digest, key.job_id).where(
                    key.tenant_id == tenant_id,
                    key.key == idempotency.key,
                    key.created_at > now - IDEMPOTENCY_TTL,
                )
            ).one_or_none()
        if row is None:
            return None
        if row.digest != idempotency.digest:
            raise IdempotencyKeyReused(
                "this Idempotency-Key was used for another request",
                hint="Use a new key for a new request.",
            )
        return self.get(tenant_id, row.job_id)

    def last_made(self, tenant_id: str, prefix: str, now: datetime) -> tuple[int, Job] | None:
        """Of keys that are this prefix and a number: the highest of the last day, and its job."""
        key = idempotency_keys.c
        query = (
            select(key.key, *JOB_COLUMNS)
            .join(jobs, jobs.c.id == key.job_id)
            .where(
                key.tenant_id == tenant_id,
                key.key.startswith(prefix, autoescape=True),
                key.created_at > now - IDEMPOTENCY_TTL,
            )
            # The longer number is the higher one.
            .order_by(func.length(key.key).desc(), key.key.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return int(row["key"].removeprefix(prefix)), job_of(
            {name: row[name] for name in row if name != "key"}
        )

    def get(self, tenant_id: str, job_id: str) -> Job:
        """Raises: NotFound."""
        return job_of(self._row(tenant_id, job_id, *JOB_COLUMNS))

    def state_of(self, tenant_id: str, job_id: str) -> JobState:
        """Cheap enough to ask several times a second. Raises: NotFound."""
        return JobState(self._row(tenant_id, job_id, jobs.c.state)["state"])

    def layers(self, tenant_id: str, job_id: str) -> list[dict[str, Any]] | None:
        """The per-layer table, if there is one. Raises: NotFound."""
        layers: list[dict[str, Any]] | None = self._row(tenant_id, job_id, jobs.c.layers)["layers"]
        return layers

    def request_cancel(self, change: AuditedChange, job_id: str, now: datetime) -> Job:
        """Cancel a queued job at once, ask a running one to stop, leave a final one as it is.

        Raises: NotFound, what `record_change` raises.
        """
        with self._database.write() as connection:
            job = locked_job(connection, owned(change.tenant_id, job_id))
            if job and not job.state.is_final and not job.cancel_requested:
                _cancel(connection, job, now)
                record_change(connection, change, job_id, now)
        return self.get(change.tenant_id, job_id)

    def delete(self, change: AuditedChange, job_id: str, now: datetime) -> Job | None:
        """Forget a final job with all that hangs on it: events, labels, artifacts' rows.

        Returns: null; the job as it is where it has not ended, and stays.
        Raises: NotFound, what `record_change` raises.
        """
        with self._database.write() as connection:
            job = locked_job(connection, owned(change.tenant_id, job_id))
            if job is None:
                raise NotFound(f"there is no job {job_id!r}")
            if not job.state.is_final:
                return job
            connection.execute(delete(jobs).where(jobs.c.id == job_id))
            record_change(connection, change, job_id, now)
        return None

    def mark_sent(self, job_id: str, now: datetime) -> None:
        with self._database.write() as connection:
            sent = update(jobs).where(jobs.c.id == job_id)
            connection.execute(sent.values(sent_at=now, send_count=jobs.c.send_count + 1))

    def events(self, tenant_id: str, job_id: str, after: int, limit: int) -> list[JobEvent]:
        """Events with a number above `after`, in order; fewer than `limit` where they are large."""
        with self._database.read() as connection:
            return read_events(connection, tenant_id, job_id, after, limit)

    def queue_positions(self, tenant_id: str, job_ids: Collection[str]) -> dict[str, int]:
        """Of those that are queued: 1 = the next one of this tenant to be taken.

        What others have queued is not counted: the number would tell how busy they are.
        """
        position = func.row_number().over(order_by=(jobs.c.queued_at, jobs.c.id))
        waiting = select(jobs.c.id, position.label("position")).where(
            jobs.c.tenant_id == tenant_id, jobs.c.state == JobState.QUEUED
        )
        queue = waiting.subquery()
        query = select(queue.c.id, queue.c.position).where(queue.c.id.in_(job_ids))
        with self._database.read() as connection:
            return {row.id: row.position for row in connection.execute(query)}

    def artifacts(self, tenant_id: str, job_id: str) -> list[Artifact]:
        return self.artifacts_of(tenant_id, [job_id]).get(job_id, [])

    def artifacts_of(self, tenant_id: str, job_ids: Collection[str]) -> dict[str, list[Artifact]]:
        """What each of these jobs made; those that made nothing are left out."""
        query = (
            _artifacts(tenant_id).where(artifacts.c.job_id.in_(job_ids)).order_by(artifacts.c.id)
        )
        found: dict[str, list[Artifact]] = {}
        with self._database.read() as connection:
            for artifact in map(artifact_of, connection.execute(query).mappings()):
                found.setdefault(artifact.job_id, []).append(artifact)
        return found

    def artifact(self, tenant_id: str, artifact_id: str) -> Artifact:
        """Raises: NotFound."""
        query = _artifacts(tenant_id).where(artifacts.c.id == artifact_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no artifact {artifact_id!r}")
        return artifact_of(row)

    def quotas(self, tenant_id: str) -> Quotas:
        """What holds for this tenant."""
        with self._database.read() as connection:
            return quotas_of(connection, tenant_id, self._quotas)

    def usage(self, tenant_id: str, now: datetime) -> JobUsage:
        """What counts against the tenant's quotas of jobs."""
        with self._database.read() as connection:
            return usage_of(connection, tenant_id, now)

    def blobs_in_use(self) -> set[str]:
        """sha256 of every file that an artifact needs, of all tenants."""
        with self._database.read() as connection:
            return set(connection.execute(select(artifacts.c.sha256)).scalars())

    def _row(self, tenant_id: str, job_id: str, *columns: ColumnElement[Any]) -> RowMapping:
        query = select(*columns).where(owned(tenant_id, job_id))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no job {job_id!r}")
        return row


def uses(connection: Connection, tenant_id: str, upload_id: str) -> bool:
    """Whether a queued or running job of this tenant uses this model or data set."""
    of_job = job_uploads.join(jobs, jobs.c.id == job_uploads.c.job_id)
    is_theirs = (jobs.c.tenant_id == tenant_id) & (job_uploads.c.upload_id == upload_id)
    query = select(exists().select_from(of_job).where(is_theirs, jobs.c.state.in_(ACTIVE)))
    return bool(connection.execute(query).scalar_one())


def _artifacts(tenant_id: str) -> Select[Any]:
    return (
        select(artifacts)
        .join(jobs, jobs.c.id == artifacts.c.job_id)
        .where(jobs.c.tenant_id == tenant_id)
    )


def _remember(connection: Connection, given: Idempotency, job: NewJob) -> None:
    expired = idempotency_keys.c.created_at <= job.now - IDEMPOTENCY_TTL
    connection.execute(idempotency_keys.delete().where(expired))
    connection.execute(
        insert(idempotency_keys).values(
            tenant_id=job.tenant_id,
            key=given.key,
            digest=given.digest,
            job_id=job.id,
            created_at=job.now,
        )
    )


def _cancel(connection: Connection, job: Job, now: datetime) -> None:
    changes: dict[str, Any] = {"cancel_requested": True, "version": jobs.c.version + 1}
    if job.state is JobState.QUEUED:
        append_events(connection, job.id, [state_event(JobState.CANCELLED)], now)
        ended = {"state": JobState.CANCELLED, "finished_at": now, "row_bytes": bytes_of_ended()}
        changes |= ended
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(**changes))
