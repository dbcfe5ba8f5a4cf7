"""What happens to a job when two processes move it at the same moment, on both databases.

The first mover is a transaction that is held open; the second one meets its lock, and goes on when
the first has committed.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy import update

from app.accounts.principal import DEFAULT_TENANT
from app.database.engine import Database
from app.database.tables import jobs
from app.jobs.job import Job, JobState
from app.jobs.leases import JobLeases
from app.jobs.store import JobStore
from tests.app import races
from tests.app.jobs.conftest import asked
from tests.fakes import a_change

T = TypeVar("T")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)


@pytest.fixture
def running(store: JobStore, leases: JobLeases) -> Job:
    job = store.add(a_change(), asked(), now=NOW)
    claimed = leases.claim(job.id, "w", NOW, lease_s=10)
    assert claimed is not None
    return claimed


def meanwhile(
    database: Database, job: Job, change: Mapping[str, object], move: Callable[[], T]
) -> T:
    """Run `move` while a transaction that makes `change` to the job is open, then commit that."""
    changed = update(jobs).where(jobs.c.id == job.id).values(**change)
    return races.meanwhile(database, lambda connection: connection.execute(changed), move)


def test_reaper_leaves_a_job_that_is_renewed_meanwhile(
    both_databases: Database, store: JobStore, leases: JobLeases, running: Job
) -> None:
    renewed = {"lease_expires_at": LATER + timedelta(seconds=10)}

    reaped = meanwhile(both_databases, running, renewed, lambda: leases.reap(LATER, 3))

    assert (reaped.requeued, reaped.ended) == ((), ())
    assert store.get(DEFAULT_TENANT, running.id).state is JobState.RUNNING


def test_reaper_does_not_claim_to_have_moved_a_job_that_ended_meanwhile(
    both_databases: Database, leases: JobLeases, running: Job
) -> None:
    ended = {"state": JobState.SUCCEEDED}

    reaped = meanwhile(both_databases, running, ended, lambda: leases.reap(LATER, 3))

    assert (reaped.requeued, reaped.ended) == ((), ())


def test_reaper_cancels_a_lost_job_whose_cancel_is_asked_meanwhile(
    both_databases: Database, store: JobStore, leases: JobLeases, running: Job
) -> None:
    meanwhile(both_databases, running, {"cancel_requested": True}, lambda: leases.reap(LATER, 3))
    leases.reap(LATER, 3)

    assert store.get(DEFAULT_TENANT, running.id).state is JobState.CANCELLED


def test_cancel_ends_a_job_that_is_handed_back_meanwhile(
    both_databases: Database, store: JobStore, running: Job
) -> None:
    back = {"state": JobState.QUEUED}

    job = meanwhile(
        both_databases,
        running,
        back,
        lambda: store.request_cancel(a_change(), running.id, NOW),
    )

    assert job.state is JobState.CANCELLED


def test_cancel_leaves_a_job_that_succeeds_meanwhile(
    both_databases: Database, store: JobStore, running: Job
) -> None:
    ended = {"state": JobState.SUCCEEDED}

    job = meanwhile(
        both_databases,
        running,
        ended,
        lambda: store.request_cancel(a_change(), running.id, NOW),
    )

    assert (job.state, job.cancel_requested) == (JobState.SUCCEEDED, False)


def test_handing_back_ends_a_job_whose_cancel_is_asked_meanwhile(
    both_databases: Database, store: JobStore, leases: JobLeases, running: Job
) -> None:
    moved = meanwhile(
        both_databases,
        running,
        {"cancel_requested": True},
        lambda: leases.hand_back(running.id, running.fence, LATER, counts=False),
    )

    assert moved
    assert store.get(DEFAULT_TENANT, running.id).state is JobState.CANCELLED
