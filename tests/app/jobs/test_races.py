"""What happens to a job when two processes move it at the same moment, on both databases.

The first mover is a transaction that this test holds open; the second one runs in a thread, meets
its lock, and goes on when the first has committed.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy import text, update

from app.accounts.principal import DEFAULT_TENANT
from app.database.engine import Database
from app.database.tables import jobs
from app.jobs.job import Job, JobState
from app.jobs.leases import JobLeases
from app.jobs.request import JobRequest
from app.jobs.store import JobStore
from tests.fakes import a_deed

T = TypeVar("T")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)
LIMIT_S = 10
WAITING_FOR_A_LOCK = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def store(both_databases: Database) -> JobStore:
    return JobStore(both_databases)


@pytest.fixture
def leases(both_databases: Database) -> JobLeases:
    return JobLeases(both_databases)


@pytest.fixture
def running(store: JobStore, leases: JobLeases) -> Job:
    recipe = {"steps": [{"technique": "float16_quantization"}]}
    job = store.add(
        a_deed(), JobRequest.model_validate({"model_id": "mdl_1", "recipe": recipe}), now=NOW
    )
    claimed = leases.claim(job.id, "w", NOW, lease_s=10)
    assert claimed is not None
    return claimed


def meanwhile(
    database: Database, job: Job, change: Mapping[str, object], move: Callable[[], T]
) -> T:
    """Run `move` while a transaction that makes `change` to the job is open, then commit that."""
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(**change))
            moving = pool.submit(move)
            _wait_until_blocked(database, moving)
        return moving.result(LIMIT_S)


def _wait_until_blocked(database: Database, moving: "Future[T]") -> None:
    # On SQLite there is nothing to wait for: a second writer starts after the first, whenever.
    end = time.monotonic() + LIMIT_S
    while not database.is_sqlite and not moving.done():
        with database.read() as connection:
            if connection.execute(WAITING_FOR_A_LOCK).scalar_one():
                return
        assert time.monotonic() < end, "the second mover neither waits nor ends"


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
        both_databases, running, back, lambda: store.request_cancel(a_deed(), running.id, NOW)
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
        lambda: store.request_cancel(a_deed(), running.id, NOW),
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
