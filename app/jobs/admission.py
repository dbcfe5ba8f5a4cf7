"""Whether a tenant may have one more job waiting, and one more running: asked inside transactions.

The tenant's row is locked before anything is counted, so that of many who ask at the same moment
exactly as many pass as there is room for.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from app.accounts.errors import Limited
from app.accounts.quotas import Quotas, locked_quotas, require_storage
from app.accounts.run_time import next_month, run_s_in_month
from app.database.tables import jobs
from app.jobs.job import JobState
from app.jobs.new_job import NewJob
from app.jobs.outcomes import RunTimeUsedUp

# When a queue that is full may have room again, nobody knows; a job takes minutes.
QUEUE_RETRY_S = 30


class QueuedJobsQuota(Limited):
    code = "quota_jobs_queued"
    title = "The tenant has as many jobs waiting as it may"


class RunTimeQuota(Limited):
    code = RunTimeUsedUp.code
    title = RunTimeUsedUp.title


@dataclass(frozen=True)
class JobUsage:
    """What a tenant's jobs come to at the moment."""

    queued: int
    running: int
    run_s: float


def require_room(connection: Connection, job: NewJob, defaults: Quotas) -> None:
    """One more job may be queued.

    Raises: QueuedJobsQuota, RunTimeQuota; QuotaStorage where there is no room for its rows.
    """
    tenant_id, now = job.tenant_id, job.now
    quotas = locked_quotas(connection, tenant_id, defaults)
    require_storage(connection, tenant_id, quotas, job.row_bytes)
    if quotas.jobs_queued is not None:
        waiting = count_jobs(connection, tenant_id, JobState.QUEUED)
        if waiting >= quotas.jobs_queued:
            raise QueuedJobsQuota(
                f"{waiting} jobs are waiting; {quotas.jobs_queued} may",
                QUEUE_RETRY_S,
                hint="Wait until some of them have begun, or cancel some.",
            )
    left_s = run_s_left(connection, tenant_id, quotas, now)
    if quotas.run_s is not None and left_s is not None and left_s <= 0:
        raise RunTimeQuota(
            f"jobs have run for {quotas.run_s - left_s:.6g} s this month; "
            f"{quotas.run_s:g} s they may",
            (next_month(now) - now).total_seconds(),
            hint="Wait for the next month (UTC), or ask the operator for more.",
        )


def may_run(connection: Connection, tenant_id: str, quotas: Quotas) -> bool:
    """Whether one more of its jobs may run beside those that do."""
    if quotas.jobs_running is None:
        return True
    return count_jobs(connection, tenant_id, JobState.RUNNING) < quotas.jobs_running


def run_s_left(
    connection: Connection, tenant_id: str, quotas: Quotas, now: datetime
) -> float | None:
    """Of this month; null = any number. What runs at the moment is counted up to now."""
    if quotas.run_s is None:
        return None
    return quotas.run_s - used_run_s(connection, tenant_id, now)


def used_run_s(connection: Connection, tenant_id: str, now: datetime) -> float:
    is_running = (jobs.c.tenant_id == tenant_id) & (jobs.c.state == JobState.RUNNING)
    begun = connection.execute(select(jobs.c.claimed_at).where(is_running)).scalars()
    # Another machine's clock may be ahead of this one's.
    running_s: float = sum(max(0.0, (now - at).total_seconds()) for at in begun if at is not None)
    return run_s_in_month(connection, tenant_id, now) + running_s


def usage_of(connection: Connection, tenant_id: str, now: datetime) -> JobUsage:
    return JobUsage(
        queued=count_jobs(connection, tenant_id, JobState.QUEUED),
        running=count_jobs(connection, tenant_id, JobState.RUNNING),
        run_s=used_run_s(connection, tenant_id, now),
    )


def count_jobs(connection: Connection, tenant_id: str, state: JobState) -> int:
    wanted = (jobs.c.tenant_id == tenant_id) & (jobs.c.state == state)
    query = select(func.count()).select_from(jobs).where(wanted)
    return int(connection.execute(query).scalar_one())
