"""What is written of a job counts toward its tenant's storage, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Text, cast, func, select

from app.accounts.errors import QuotaStorage
from app.accounts.principal import DEFAULT_TENANT
from app.accounts.quotas import NO_QUOTAS, Quotas, Storage, storage_of
from app.database.engine import Database, json_bytes
from app.database.tables import job_events
from app.errors import EngineFault
from app.jobs.job import Job, JobState
from app.jobs.leases import JobLeases
from app.jobs.outcomes import NewArtifact, Outcome
from app.jobs.rows import NewEvent
from app.jobs.sizes import EVENT_BYTES, JOB_BYTES
from app.jobs.store import JobStore
from tests.app.jobs.conftest import asked
from tests.fakes import a_change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = NewEvent("metrics", {"loss": "x" * 500, "unit": "\u00e9"})
TOLD_BYTES = 500 + len('{"loss": "", "unit": "\\u00e9"}') + EVENT_BYTES
STATE_BYTES = EVENT_BYTES + len('{"state": "queued"}')


@pytest.fixture
def queued(store: JobStore) -> Job:
    return store.add(a_change(), asked(), now=NOW)


def rows_bytes(database: Database) -> int:
    return storage(database).rows_bytes


def storage(database: Database) -> Storage:
    with database.read() as connection:
        return storage_of(connection, DEFAULT_TENANT)


def events_bytes(database: Database) -> int:
    size = func.sum(func.length(cast(job_events.c.data, Text)) + EVENT_BYTES)
    with database.read() as connection:
        return int(connection.execute(select(size)).scalar_one())


def started(leases: JobLeases, job: Job) -> Job:
    """It runs, and has told something."""
    claimed = leases.claim(job.id, "w", NOW, lease_s=60)
    assert claimed
    assert leases.record(job.id, claimed.fence, NOW, [TOLD, TOLD], "training", 0.5)
    return claimed


def test_new_job_counts_as_long_as_its_request_is(
    store: JobStore, both_databases: Database
) -> None:
    short = store.add(a_change(), asked(), now=NOW)
    first = rows_bytes(both_databases)
    store.add(a_change(), asked(tags={"team": "x" * 200}), now=NOW)
    assert first == JOB_BYTES + json_bytes(short.request)
    assert rows_bytes(both_databases) - first == first + len('"team": ""') + 200


def test_ended_job_counts_what_it_told_and_what_came_out(
    both_databases: Database, leases: JobLeases, queued: Job
) -> None:
    before = rows_bytes(both_databases)
    job = started(leases, queued)
    told = events_bytes(both_databases)
    problem = EngineFault("y" * 300).as_problem()
    outcome = Outcome(
        JobState.FAILED,
        report={"text": "z" * 1000},
        layers=[{"name": "dense"}],
        problem=problem,
        artifacts=(NewArtifact("tflite", "tflite", "m.tflite", 7, "a" * 64),),
    )

    assert leases.commit(job.id, job.fence, outcome, NOW)

    results = json_bytes(outcome.report, outcome.layers, problem.model_dump(mode="json"))
    assert results > 1300
    assert told > 2 * TOLD_BYTES
    assert rows_bytes(both_databases) == before + told + results
    assert storage(both_databases).artifacts_bytes == 7
    assert storage(both_databases).uploads_bytes == 3  # of the fixture, a byte each


@pytest.mark.parametrize("end", ["cancel", "reap"])
def test_what_an_earlier_attempt_told_counts_however_its_job_ends(
    both_databases: Database, store: JobStore, leases: JobLeases, queued: Job, end: str
) -> None:
    before = rows_bytes(both_databases)
    job = started(leases, queued)
    assert leases.hand_back(job.id, job.fence, NOW, counts=True)
    if end == "cancel":
        store.request_cancel(a_change(), job.id, NOW)
    else:
        leases.reap(NOW + timedelta(days=100), max_attempts=3)
    assert store.get(DEFAULT_TENANT, job.id).state.is_final
    assert rows_bytes(both_databases) > before + 2 * TOLD_BYTES + 2 * STATE_BYTES


def test_deleted_job_leaves_its_room(
    both_databases: Database, store: JobStore, queued: Job
) -> None:
    store.request_cancel(a_change(), queued.id, NOW)
    assert rows_bytes(both_databases) > 0
    store.delete(a_change(), queued.id, NOW)
    assert rows_bytes(both_databases) == 0


def test_tenant_that_submits_and_cancels_comes_to_its_quota(both_databases: Database) -> None:
    store = JobStore(both_databases, Quotas(storage_bytes=40_000))
    request = asked(tags={f"tag{number}": "x" * 250 for number in range(20)})
    kept: list[Job] = []

    def fill() -> None:
        while len(kept) < 100:
            kept.append(store.add(a_change(), request, now=NOW))
            store.request_cancel(a_change(), kept[-1].id, NOW)

    with pytest.raises(QuotaStorage, match="of 40000 bytes are in use") as refused:
        fill()
    assert 4 <= len(kept) <= 6
    assert storage(both_databases).total_bytes <= 40_000
    assert "jobs" in str(refused.value.hint)
    store.delete(a_change(), kept[0].id, NOW)
    store.add(a_change(), request, now=NOW)


def test_job_that_has_begun_may_finish_beyond_the_quota(both_databases: Database) -> None:
    limited = Quotas(storage_bytes=4000)
    store, leases = JobStore(both_databases, limited), JobLeases(both_databases, limited)
    job = started(leases, store.add(a_change(), asked(), now=NOW))
    assert leases.commit(
        job.id, job.fence, Outcome(JobState.SUCCEEDED, report={"text": "z" * 5000}), NOW
    )
    assert storage(both_databases).total_bytes > 4000
    with pytest.raises(QuotaStorage):
        store.add(a_change(), asked(), now=NOW)
    assert store.quotas(DEFAULT_TENANT) == NO_QUOTAS.model_copy(update={"storage_bytes": 4000})
