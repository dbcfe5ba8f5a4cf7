"""Whose job is next. A message wakes a worker; which job it then takes, the database says.

Messages come in the order they were sent in, and a thousand of one tenant would stand before the
first of another. So a message is a turn, not a job: it goes to the tenant that has the fewest jobs
running, and of those to the one that was served the longest ago; there, to the oldest job.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, select, update

from app.accounts.quotas import (
    Quotas,
    holds_more_than_its_quota,
    locked_quotas,
    quotas_of,
)
from app.database.tables import jobs, tenants
from app.jobs.admission import may_run, run_s_left
from app.jobs.job import JobState
from app.jobs.outcomes import Outcome, run_time_used_up, storage_used_up

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class RunPermit:
    """Leave to run one more job.

    Attributes:
        run_limit_s: what is left of the month; null = any time.
        ending: how it ends instead, where nothing is left of that or of the storage.
    """

    run_limit_s: float | None
    ending: Outcome | None


def next_job(connection: Connection, defaults: Quotas, now: datetime) -> str | None:
    """The job that is to be taken next. None: nothing waits, or nothing that waits may run."""
    waiting = [tenant for tenant in _waiting_tenants(connection, now) if _may_run(tenant, defaults)]
    if not waiting:
        return None
    first = min(waiting, key=lambda tenant: (tenant.running, tenant.served_at or NEVER, tenant.id))
    return _oldest_job(connection, first.id, now)


def admit(connection: Connection, job_id: str, defaults: Quotas, now: datetime) -> RunPermit | None:
    """Leave to run this job. None: it does not wait any more, or its tenant is at its limit.

    The tenant's row stays locked, so that no two jobs take the last place.
    """
    waiting = select(jobs.c.tenant_id).where(jobs.c.id == job_id, *_is_waiting(now))
    tenant_id = connection.execute(waiting).scalar()
    if tenant_id is None:
        return None
    quotas = locked_quotas(connection, tenant_id, defaults)
    if not may_run(connection, tenant_id, quotas):
        return None
    served = update(tenants).where(tenants.c.id == tenant_id)
    connection.execute(served.values(served_at=now))
    left_s = run_s_left(connection, tenant_id, quotas, now)
    if left_s is not None and left_s <= 0:
        return RunPermit(left_s, run_time_used_up())
    is_full = holds_more_than_its_quota(connection, tenant_id, quotas)
    return RunPermit(left_s, storage_used_up() if is_full else None)


def held_back(
    connection: Connection, tenant_id: str, defaults: Quotas, now: datetime
) -> str | None:
    """A job of this tenant whose message may have come while the tenant was at its limit."""
    if quotas_of(connection, tenant_id, defaults).jobs_running is None:
        return None
    return _oldest_job(connection, tenant_id, now)


def _waiting_tenants(connection: Connection, now: datetime) -> list[Row[Any]]:
    is_theirs = jobs.c.tenant_id == tenants.c.id
    running = (
        select(func.count())
        .select_from(jobs)
        .where(is_theirs, jobs.c.state == JobState.RUNNING)
        .scalar_subquery()
    )
    has_waiting = exists().where(is_theirs, *_is_waiting(now))
    columns = (tenants.c.id, tenants.c.quotas, tenants.c.served_at, running.label("running"))
    return list(connection.execute(select(*columns).where(has_waiting)))


def _may_run(tenant: Row[Any], defaults: Quotas) -> bool:
    limit = defaults.model_copy(update=tenant.quotas or {}).jobs_running
    return limit is None or tenant.running < limit


def _oldest_job(connection: Connection, tenant_id: str, now: datetime) -> str | None:
    """The first in its tenant's queue."""
    theirs = select(jobs.c.id).where(jobs.c.tenant_id == tenant_id, *_is_waiting(now))
    oldest = theirs.order_by(jobs.c.queued_at, jobs.c.id).limit(1)
    return connection.execute(oldest).scalar()


def _is_waiting(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.state == JobState.QUEUED, jobs.c.queue_expires_at > now
