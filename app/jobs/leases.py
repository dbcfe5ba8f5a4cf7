"""Jobs as workers see them: claimed under a fence, kept by a lease, committed once.

The fence counts claims. Every write of a worker names the fence of its own claim, so a worker that
was frozen past its lease, and whose job another one took, can no longer write anything.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, or_, select, update

from app.accounts.quotas import NO_QUOTAS, Quotas
from app.accounts.run_time import Run, add_run_times
from app.database.engine import Database
from app.database.tables import jobs
from app.jobs.job import Job, JobState, sources_of
from app.jobs.outcomes import (
    Outcome,
    Reaped,
    Renewal,
    last_word,
    queued_too_long,
)
from app.jobs.rows import (
    JOB_COLUMNS,
    NewEvent,
    append_events,
    job_of,
    locked_job,
    state_event,
)
from app.jobs.scheduling import admit, held_back, next_job
from app.jobs.transitions import (
    end_job,
    held_job,
    is_held,
    lost_jobs,
    overdue_jobs,
    requeue_job,
    run_of,
)

# The pause before a message is sent again doubles this often: 20 s become 11 minutes.
MOST_PAUSES = 6
# To take a job that another worker takes at the same moment.
MOST_TRIES = 5


class JobLeases:
    """What a worker may do with a job, whosever it is: `Job.tenant_id` says whose."""

    def __init__(self, database: Database, quotas: Quotas = NO_QUOTAS) -> None:
        self.database = database
        self._quotas = quotas

    def take(self, worker: str, now: datetime, lease_s: float) -> Job | None:
        """Claim the job whose turn it is, if there is one."""
        for _ in range(MOST_TRIES):
            with self.database.read() as connection:
                job_id = next_job(connection, self._quotas, now)
            if job_id is None:
                return None
            if job := self.claim(job_id, worker, now, lease_s):
                return job
        return None  # others are faster: there is no lack of workers

    def held_back(self, tenant_id: str, now: datetime) -> str | None:
        """The next job of a tenant that may have as many running as it has places."""
        with self.database.read() as connection:
            return held_back(connection, tenant_id, self._quotas, now)

    def claim(self, job_id: str, worker: str, now: datetime, lease_s: float) -> Job | None:
        """Take a queued job: one conditional UPDATE, so that of many who want it one wins.

        A job whose tenant has no run time left, or no storage, ends here.
        """
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
                claimed_at=now,
                version=jobs.c.version + 1,
            )
            .returning(*JOB_COLUMNS)
        )
        with self.database.write() as connection:
            turn = admit(connection, job_id, self._quotas, now)
            if turn is None:
                return None
            if turn.ending:
                waiting = update(jobs).where(jobs.c.id == job_id)
                end_job(connection, waiting, job_id, turn.ending, now)
                return None
            taken = query.values(run_limit_s=turn.run_limit_s)
            row = connection.execute(taken).mappings().one_or_none()
            if row is None:
                return None
            job = job_of(row)
            event = state_event(JobState.RUNNING, attempt=job.attempt)
            append_events(connection, job_id, [event], now)
        return job

    def renew(self, job_id: str, fence: int, now: datetime, lease_s: float) -> Renewal:
        """Hold on to the job for `lease_s` more."""
        query = (
            held_job(job_id, fence)
            .values(lease_expires_at=now + timedelta(seconds=lease_s))
            .returning(jobs.c.cancel_requested)
        )
        with self.database.write() as connection:
            row = connection.execute(query).one_or_none()
        return Renewal(row is not None, bool(row and row.cancel_requested))

    def look(self, job_id: str, fence: int) -> Renewal:
        """What `renew` would say, without writing: cheap enough to ask several times a second."""
        query = select(jobs.c.cancel_requested).where(*is_held(job_id, fence))
        with self.database.read() as connection:
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
        query = held_job(job_id, fence).values(
            phase=phase, progress=progress, version=jobs.c.version + 1
        )
        with self.database.write() as connection:
            if connection.execute(query).rowcount == 0:
                return False
            append_events(connection, job_id, events, now)
        return True

    def has_ended(self, job_id: str) -> bool:
        """Whether nobody will go on with it: it is final, or gone."""
        query = select(jobs.c.state).where(jobs.c.id == job_id)
        with self.database.read() as connection:
            state = connection.execute(query).scalar_one_or_none()
        return state is None or JobState(state).is_final

    def commit(self, job_id: str, fence: int, outcome: Outcome, now: datetime) -> bool:
        """End the job with everything it made, in one transaction, or not at all."""
        with self.database.write() as connection:
            run = run_of(connection, job_id, fence, now)
            if not end_job(connection, held_job(job_id, fence), job_id, outcome, now):
                return False
            add_run_times(connection, run)
        return True

    def hand_back(self, job_id: str, fence: int, now: datetime, *, counts: bool) -> bool:
        """Queue the job again, or cancel it where that was asked for.

        `counts`: whether the attempt is one of `max_attempts`.
        """
        held = held_job(job_id, fence)
        with self.database.write() as connection:
            job = locked_job(connection, jobs.c.id == job_id)
            run = run_of(connection, job_id, fence, now)
            if job and job.cancel_requested:
                is_moved = end_job(connection, held, job_id, Outcome(JobState.CANCELLED), now)
            else:
                is_moved = requeue_job(connection, held, job_id, now, counts=counts)
            add_run_times(connection, run if is_moved else ())
        return is_moved

    def reap(self, now: datetime, max_attempts: int) -> Reaped:
        """Queue again what lost its lease, end what ran out of attempts or of queue time."""
        requeued: list[str] = []
        ended: list[str] = []
        runs: list[Run] = []
        with self.database.write() as connection:
            for job in lost_jobs(connection, now):
                # Its worker is gone since some moment before this one.
                gone_at = job.lease_expires_at or now
                runs += run_of(connection, job.id, job.fence, gone_at)
                outcome = last_word(job, max_attempts)
                lost = held_job(job.id, job.fence)
                if outcome is None:
                    requeue_job(connection, lost, job.id, now, counts=True)
                    requeued.append(job.id)
                else:
                    end_job(connection, lost, job.id, outcome, now)
                    ended.append(job.id)
            for job_id in overdue_jobs(connection, now):
                waiting = update(jobs).where(jobs.c.id == job_id)
                end_job(connection, waiting, job_id, queued_too_long(), now)
                ended.append(job_id)
            add_run_times(connection, runs)
        return Reaped(tuple(requeued), tuple(ended), frozenset(run.tenant_id for run in runs))

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
        with self.database.read() as connection:
            return list(connection.execute(query).scalars())


def _lost(now: datetime, resend_s: float) -> list[ColumnElement[bool]]:
    """For each number of times a message was sent: that it is too long ago."""
    conditions: list[ColumnElement[bool]] = []
    for count in range(1, MOST_PAUSES + 1):
        too_long_ago = jobs.c.sent_at < now - timedelta(seconds=resend_s * 2 ** (count - 1))
        is_count = jobs.c.send_count == count if count < MOST_PAUSES else jobs.c.send_count >= count
        conditions.append(is_count & too_long_ago)
    return conditions
