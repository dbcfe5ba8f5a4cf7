"""Jobs as workers see them: claimed under a fence, kept by a lease, committed once.

The fence counts claims. Every write of a worker names the fence of its own claim, so a worker that
was frozen past its lease, and whose job another one took, can no longer write anything.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, insert, or_, select, update

from app.database.engine import Database
from app.database.tables import artifacts, jobs
from app.ids import new_id
from app.jobs.job import Job, JobState, sources_of
from app.jobs.outcomes import Outcome, Reaped, Renewal, last_word, queued_too_long
from app.jobs.rows import (
    JOB_COLUMNS,
    NewEvent,
    append_events,
    job_of,
    locked_job,
    state_event,
)

# The pause before a message is sent again doubles this often: 20 s become 11 minutes.
MOST_PAUSES = 6


class JobLeases:
    """What a worker may do with a job, whosever it is: `Job.tenant_id` says whose."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, job_id: str, worker: str, now: datetime, lease_s: float) -> Job | None:
        """Take a queued job: one conditional UPDATE, so that of many deliveries one wins."""
        query = (
            update(jobs)
            .where(
                jobs.c.id == job_id,
                jobs.c.state.in_(sources_of(JobState.RUNNING)),
                jobs.c.queue_expires_at > now,
            )
            .values(
                state=JobState.RUNNING,
                fence=jobs.c.fence + 1,
                attempt=jobs.c.attempt + 1,
                worker=worker,
                phase="starting",
                progress=0.0,
                started_at=case((jobs.c.started_at.is_(None), now), else_=jobs.c.started_at),
                lease_expires_at=now + timedelta(seconds=lease_s),
                version=jobs.c.version + 1,
            )
            .returning(*JOB_COLUMNS)
        )
        with self._database.write() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            job = job_of(row)
            event = state_event(JobState.RUNNING, attempt=job.attempt)
            append_events(connection, job_id, [event], now)
        return job

    def renew(self, job_id: str, fence: int, now: datetime, lease_s: float) -> Renewal:
        """Hold on to the job for `lease_s` more."""
        query = (
            _held(job_id, fence)
            .values(lease_expires_at=now + timedelta(seconds=lease_s))
            .returning(jobs.c.cancel_requested)
        )
        with self._database.write() as connection:
            row = connection.execute(query).one_or_none()
        return Renewal(row is not None, bool(row and row.cancel_requested))

    def look(self, job_id: str, fence: int) -> Renewal:
        """What `renew` would say, without writing: cheap enough to ask several times a second."""
        query = select(jobs.c.cancel_requested).where(*_holding(job_id, fence))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Renewal(row is not None, bool(row and row.cancel_requested))

    def record(
        self,
        job_id: str,
        fence: int,
        now: datetime,
        events: Sequence[NewEvent],
        phase: str | None,
        progress: float,
    ) -> bool:
        """Store events and how far the job is; False where the fence is not held any more."""
        query = _held(job_id, fence).values(
            phase=phase, progress=progress, version=jobs.c.version + 1
        )
        with self._database.write() as connection:
            if connection.execute(query).rowcount == 0:
                return False
            append_events(connection, job_id, events, now)
        return True

    def has_ended(self, job_id: str) -> bool:
        """Whether nobody will go on with it: it is final, or gone."""
        query = select(jobs.c.state).where(jobs.c.id == job_id)
        with self._database.read() as connection:
            state = connection.execute(query).scalar_one_or_none()
        return state is None or JobState(state).is_final

    def commit(self, job_id: str, fence: int, outcome: Outcome, now: datetime) -> bool:
        """End the job with everything it made, in one transaction, or not at all."""
        with self._database.write() as connection:
            return _end(connection, _held(job_id, fence), job_id, outcome, now)

    def hand_back(self, job_id: str, fence: int, now: datetime, *, counts: bool) -> bool:
        """Queue the job again, or cancel it where that was asked for.

        `counts`: whether the attempt is one of `max_attempts`.
        """
        held = _held(job_id, fence)
        with self._database.write() as connection:
            job = locked_job(connection, jobs.c.id == job_id)
            if job and job.cancel_requested:
                return _end(connection, held, job_id, Outcome(JobState.CANCELLED), now)
            return _requeue(connection, held, job_id, now, counts=counts)

    def reap(self, now: datetime, max_attempts: int) -> Reaped:
        """Queue again what lost its lease, end what ran out of attempts or of queue time."""
        requeued: list[str] = []
        ended: list[str] = []
        with self._database.write() as connection:
            for job in _expired(connection, now):
                outcome = last_word(job, max_attempts)
                lost = _held(job.id, job.fence)
                if outcome is None:
                    _requeue(connection, lost, job.id, now, counts=True)
                    requeued.append(job.id)
                else:
                    _end(connection, lost, job.id, outcome, now)
                    ended.append(job.id)
            for job_id in _overdue(connection, now):
                waiting = update(jobs).where(jobs.c.id == job_id)
                _end(connection, waiting, job_id, queued_too_long(), now)
                ended.append(job_id)
        return Reaped(tuple(requeued), tuple(ended))

    def unheard(self, now: datetime, resend_s: float, limit: int = 100) -> list[str]:
        """Queued jobs whose message was never sent, or may be lost: nobody came for it.

        After `resend_s` it is sent again, then after twice as long, and so on: a long queue behind
        a busy worker must not fill the broker with copies of its messages.
        """
        query = (
            select(jobs.c.id)
            .where(
                jobs.c.state == JobState.QUEUED,
                or_(jobs.c.sent_at.is_(None), *_lost(now, resend_s)),
            )
            .order_by(jobs.c.queued_at, jobs.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())


def _lost(now: datetime, resend_s: float) -> list[ColumnElement[bool]]:
    """For each number of times a message was sent: that it is too long ago."""
    conditions: list[ColumnElement[bool]] = []
    for count in range(1, MOST_PAUSES + 1):
        too_long_ago = jobs.c.sent_at < now - timedelta(seconds=resend_s * 2 ** (count - 1))
        is_count = jobs.c.send_count == count if count < MOST_PAUSES else jobs.c.send_count >= count
        conditions.append(is_count & too_long_ago)
    return conditions


def _holding(job_id: str, fence: int) -> tuple[Any, ...]:
    return jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state == JobState.RUNNING


def _held(job_id: str, fence: int) -> Any:
    return update(jobs).where(*_holding(job_id, fence))


def _end(connection: Connection, move: Any, job_id: str, outcome: Outcome, now: datetime) -> bool:
    problem = outcome.problem.model_dump(mode="json") if outcome.problem else None
    succeeded = {"progress": 1.0} if outcome.state is JobState.SUCCEEDED else {}
    allowed = jobs.c.state.in_(sources_of(outcome.state))
    moved = connection.execute(
        move.where(allowed).values(
            state=outcome.state,
            verdict=outcome.verdict,
            report=outcome.report,
            layers=outcome.layers,
            error=problem,
            phase=None,
            lease_expires_at=None,
            finished_at=now,
            version=jobs.c.version + 1,
            **succeeded,
        )
    )
    if moved.rowcount == 0:
        return False
    for made in outcome.artifacts:
        row = {"id": new_id("art"), "job_id": job_id, "created_at": now, **vars(made)}
        connection.execute(insert(artifacts).values(row))
    code = outcome.problem.code if outcome.problem else None
    event = state_event(outcome.state, verdict=outcome.verdict, code=code)
    append_events(connection, job_id, [event], now)
    return True


def _requeue(
    connection: Connection, move: Any, job_id: str, now: datetime, *, counts: bool
) -> bool:
    queue_time = jobs.c.request["limits"]["queue_s"].as_float()
    limit_s = connection.execute(select(queue_time).where(jobs.c.id == job_id)).scalar_one()
    moved = connection.execute(
        move.where(jobs.c.state.in_(sources_of(JobState.QUEUED))).values(
            state=JobState.QUEUED,
            attempt=jobs.c.attempt if counts else jobs.c.attempt - 1,
            phase=None,
            progress=0.0,
            worker=None,
            sent_at=None,
            send_count=0,
            lease_expires_at=None,
            queued_at=now,
            queue_expires_at=now + timedelta(seconds=limit_s),
            version=jobs.c.version + 1,
        )
    )
    if moved.rowcount == 0:
        return False
    append_events(connection, job_id, [state_event(JobState.QUEUED, again=True)], now)
    return True


def _expired(connection: Connection, now: datetime) -> list[Job]:
    """Locked: they stay as they are read, and another reaper skips them."""
    is_lost = (jobs.c.state == JobState.RUNNING) & (jobs.c.lease_expires_at < now)
    query = select(*JOB_COLUMNS).where(is_lost).with_for_update(skip_locked=True)
    return [job_of(row) for row in connection.execute(query).mappings()]


def _overdue(connection: Connection, now: datetime) -> list[str]:
    """Locked, as above."""
    is_late = (jobs.c.state == JobState.QUEUED) & (jobs.c.queue_expires_at <= now)
    query = select(jobs.c.id).where(is_late).with_for_update(skip_locked=True)
    return list(connection.execute(query).scalars())
