"""What a worker or a reaper writes when a job moves on; each a condition and what follows from it.

Every move of a running job names the fence of the claim it belongs to.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Update, insert, select, update

from app.accounts.run_time import Run
from app.database.tables import artifacts, jobs
from app.ids import new_id
from app.jobs.job import Job, JobState, sources_of
from app.jobs.outcomes import Outcome
from app.jobs.rows import JOB_COLUMNS, append_events, job_of, state_event
from app.jobs.sizes import bytes_of_ended


def is_held(job_id: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state == JobState.RUNNING


def held_job(job_id: str, fence: int) -> Update:
    """An UPDATE of the job that runs under this fence; of no row where none does any more."""
    return update(jobs).where(*is_held(job_id, fence))


def run_of(connection: Connection, job_id: str, fence: int, ended_at: datetime) -> list[Run]:
    """The attempt under this fence, which a move that names the fence is about to end."""
    query = select(jobs.c.tenant_id, jobs.c.claimed_at).where(*is_held(job_id, fence))
    rows = connection.execute(query)
    return [Run(row.tenant_id, row.claimed_at, ended_at) for row in rows if row.claimed_at]


def end_job(
    connection: Connection, move: Update, job_id: str, outcome: Outcome, now: datetime
) -> bool:
    """Give the job its final state, with all that came out of it.

    Args:
        move: an UPDATE of this job and no other: `held_job` where it runs, so that its fence is a
            condition already; by its id where it waits. What it may come from is added here.

    Returns: whether it was moved; False, with nothing written, where another moved it before.
    """
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
            row_bytes=bytes_of_ended(outcome.report, outcome.layers, problem),
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


def requeue_job(
    connection: Connection, move: Update, job_id: str, now: datetime, *, counts: bool
) -> bool:
    """Let the job wait for another worker; what it told so far stays.

    Args:
        move: `held_job`: an UPDATE of this job, with its fence as a condition.
        counts: whether the attempt is one of `max_attempts`.

    Returns: as `end_job`.
    """
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


def lost_jobs(connection: Connection, now: datetime) -> list[Job]:
    """Locked: they stay as they are read, and another reaper skips them."""
    is_lost = (jobs.c.state == JobState.RUNNING) & (jobs.c.lease_expires_at < now)
    query = select(*JOB_COLUMNS).where(is_lost).with_for_update(skip_locked=True)
    return [job_of(row) for row in connection.execute(query).mappings()]


def overdue_jobs(connection: Connection, now: datetime) -> list[str]:
    """Locked, as above."""
    is_late = (jobs.c.state == JobState.QUEUED) & (jobs.c.queue_expires_at <= now)
    query = select(jobs.c.id).where(is_late).with_for_update(skip_locked=True)
    return list(connection.execute(query).scalars())
