"""Quotas of jobs, at their edge and from many threads, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from app.accounts.errors import QuotaStorage
from app.accounts.principal import DEFAULT_TENANT
from app.accounts.quotas import Quotas
from app.database.engine import Database
from app.database.tables import tenants
from app.jobs.admission import QueuedJobsQuota, RunTimeQuota
from app.jobs.job import Job, JobState
from app.jobs.leases import JobLeases
from app.jobs.outcomes import NewArtifact, Outcome
from app.jobs.store import JobStore
from tests.app.conftest import add_tenant, add_uploads
from tests.app.jobs.conftest import asked
from tests.fakes import a_change

OTHER = "ten_other"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DONE = Outcome(JobState.SUCCEEDED)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@dataclass(frozen=True)
class House:
    """Two tenants under the same quotas."""

    database: Database
    store: JobStore
    leases: JobLeases

    def submit(self, tenant_id: str = DEFAULT_TENANT, now: datetime = NOW) -> Job:
        model_id = "mdl_1" if tenant_id == DEFAULT_TENANT else "mdl_other"
        request = asked(model_id=model_id, limits={"queue_s": 86_400})
        return self.store.add(a_change(tenant_id), request, now=now)

    def claim(self, job: Job, now: datetime = NOW) -> Job | None:
        return self.leases.claim(job.id, "w", now, lease_s=1e6)

    def start(self, now: datetime = NOW, tenant_id: str = DEFAULT_TENANT) -> Job:
        job = self.claim(self.submit(tenant_id, now), now)
        assert job
        return job

    def end(self, job: Job, now: datetime, outcome: Outcome = DONE) -> None:
        assert self.leases.commit(job.id, job.fence, outcome, now)

    def used_s(self, now: datetime, tenant_id: str = DEFAULT_TENANT) -> float:
        return self.store.usage(tenant_id, now).run_s


@pytest.fixture
def house_of(both_databases: Database) -> Callable[[Quotas], House]:
    add_tenant(both_databases, OTHER, "other")
    add_uploads(both_databases, OTHER, mdl_other="model")

    def make(quotas: Quotas) -> House:
        return House(
            both_databases, JobStore(both_databases, quotas), JobLeases(both_databases, quotas)
        )

    return make


MakeHouse = Callable[[Quotas], House]


def test_jobs_queue_up_to_the_quota_and_not_one_more(house_of: MakeHouse) -> None:
    house = house_of(Quotas(jobs_queued=2))
    first, _ = house.submit(), house.submit()

    with pytest.raises(QueuedJobsQuota, match="2 jobs are waiting; 2 may"):
        house.submit()
    house.submit(OTHER)
    assert house.claim(first)
    house.submit()


def test_exactly_so_many_jobs_are_queued_when_twenty_come_at_once(house_of: MakeHouse) -> None:
    house = house_of(Quotas(jobs_queued=5))

    def submit(tenant_id: str) -> bool:
        try:
            house.submit(tenant_id)
        except QueuedJobsQuota:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        passed = list(pool.map(submit, [DEFAULT_TENANT] * 20 + [OTHER] * 3))

    assert (sum(passed[:20]), passed[20:]) == (5, [True] * 3)
    assert house.store.usage(DEFAULT_TENANT, NOW).queued == 5


def test_own_quotas_stand_before_those_of_the_settings(house_of: MakeHouse) -> None:
    house = house_of(Quotas(jobs_queued=1, jobs_running=1))
    with house.database.write() as connection:
        own = update(tenants).where(tenants.c.id == OTHER)
        connection.execute(own.values(quotas={"jobs_queued": None, "jobs_running": 2}))
    for _ in range(3):
        house.submit(OTHER)
    house.submit()

    taken = [house.leases.take("w", NOW, 1e6) for _ in range(4)]

    assert [job and job.tenant_id for job in taken].count(OTHER) == 2
    assert taken[3] is None


def test_job_waits_while_its_tenant_has_as_many_running_as_it_may(house_of: MakeHouse) -> None:
    house = house_of(Quotas(jobs_running=1))
    running, waiting, others = house.start(), house.submit(), house.submit(OTHER)

    assert house.claim(waiting) is None
    assert house.store.get(DEFAULT_TENANT, waiting.id).state is JobState.QUEUED
    assert house.claim(others)

    house.end(running, NOW)
    assert house.leases.held_back(DEFAULT_TENANT, NOW) == waiting.id
    assert house.claim(waiting)


def test_exactly_so_many_jobs_run_when_twenty_workers_come_at_once(house_of: MakeHouse) -> None:
    house = house_of(Quotas(jobs_running=3))
    waiting = [house.submit() for _ in range(20)]

    with ThreadPoolExecutor(20) as pool:
        taken = [job for job in pool.map(house.claim, waiting) if job]

    assert len(taken) == 3


def test_nobody_is_held_back_where_any_number_may_run(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    house.submit()
    assert house.leases.held_back(DEFAULT_TENANT, NOW) is None


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_run_time_counts_however_an_attempt_ends(house_of: MakeHouse, state: JobState) -> None:
    house = house_of(Quotas())
    job = house.start()
    assert house.used_s(NOW + seconds(5)) == 5

    house.end(job, NOW + seconds(7), Outcome(state))

    assert house.used_s(NOW + seconds(100)) == 7
    assert house.used_s(NOW + seconds(100), OTHER) == 0


def test_clock_that_goes_back_gives_no_run_time(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    house.end(house.start(), NOW + seconds(60))
    house.start(NOW + seconds(1000))
    assert house.used_s(NOW + seconds(100)) == 60


def test_run_time_counts_every_attempt(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    job = house.start()
    assert house.leases.hand_back(job.id, job.fence, NOW + seconds(10), counts=True)
    again = house.claim(job, NOW + seconds(50))
    assert again
    house.end(again, NOW + seconds(53))

    assert house.used_s(NOW + seconds(60)) == 13


def test_run_time_of_a_lost_attempt_ends_with_its_lease(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    job = house.submit()
    assert house.leases.claim(job.id, "w", NOW, lease_s=15)

    house.leases.reap(NOW + seconds(3600), max_attempts=3)
    house.leases.reap(NOW + seconds(7200), max_attempts=3)

    assert house.used_s(NOW + seconds(7200)) == 15


def test_job_that_never_ran_costs_nothing(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    job = house.start()
    assert house.leases.hand_back(job.id, job.fence, NOW + seconds(4), counts=False)
    house.store.request_cancel(a_change(), job.id, NOW + seconds(400))
    overdue = house.submit()
    house.leases.reap(NOW + seconds(90_000), max_attempts=3)

    assert house.store.get(DEFAULT_TENANT, overdue.id).state is JobState.TIMED_OUT
    assert house.used_s(NOW + seconds(1)) == 4


def test_run_time_is_of_the_month_it_was_spent_in(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    job = house.start(datetime(2026, 1, 31, 23, 59, tzinfo=UTC))
    house.end(job, datetime(2026, 2, 1, 0, 2, tzinfo=UTC))

    assert house.used_s(datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)) == 60
    assert house.used_s(datetime(2026, 2, 1, 1, tzinfo=UTC)) == 120


def test_no_job_is_taken_in_when_the_month_is_used_up(house_of: MakeHouse) -> None:
    house = house_of(Quotas(run_s=60))
    house.end(house.start(), NOW + seconds(59))
    last = house.submit()
    house.submit(OTHER)
    running = house.claim(last, NOW)
    assert running
    assert running.run_limit_s == 1

    house.end(running, NOW + seconds(3))
    with pytest.raises(RunTimeQuota, match="62 s this month; 60 s they may") as refused:
        house.submit(now=NOW + seconds(4))
    assert refused.value.retry_after_s == (12 * 3600) - 4
    house.submit(now=datetime(2026, 2, 1, tzinfo=UTC))


def test_job_fails_when_the_month_was_used_up_while_it_waited(house_of: MakeHouse) -> None:
    house = house_of(Quotas(run_s=60))
    running, waiting = house.start(), house.submit()
    house.end(running, NOW + seconds(60))

    assert house.leases.take("w", NOW + seconds(61), 10) is None

    job = house.store.get(DEFAULT_TENANT, waiting.id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "quota_run_seconds"


def test_job_has_any_time_where_there_is_no_quota(house_of: MakeHouse) -> None:
    assert house_of(Quotas()).start().run_limit_s is None


def test_no_job_is_taken_in_when_there_is_no_room_for_what_it_makes(house_of: MakeHouse) -> None:
    house = house_of(Quotas(storage_bytes=100_000))
    artifact = NewArtifact("tflite", "tflite", "m.tflite", 98_000, "a" * 64)
    house.end(house.start(), NOW, Outcome(JobState.SUCCEEDED, artifacts=(artifact,)))

    with pytest.raises(QuotaStorage, match="of 100000 bytes"):
        house.submit()
    house.submit(OTHER)


def test_job_fails_when_the_storage_was_exceeded_while_it_waited(house_of: MakeHouse) -> None:
    house = house_of(Quotas(storage_bytes=100_000))
    running, waiting, others = house.start(), house.submit(), house.submit(OTHER)
    artifact = NewArtifact("tflite", "tflite", "m.tflite", 100_000, "a" * 64)
    house.end(running, NOW, Outcome(JobState.SUCCEEDED, artifacts=(artifact,)))

    assert house.claim(waiting) is None
    assert house.claim(others)

    job = house.store.get(DEFAULT_TENANT, waiting.id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["stage"]) == ("quota_storage", "queued")


def test_one_tenants_thousand_jobs_keep_nobody_else_waiting(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    for number in range(50):
        house.submit(now=NOW + seconds(number))
    first, second = house.submit(OTHER, NOW + seconds(100)), house.submit(OTHER, NOW + seconds(101))

    now = NOW + seconds(200)
    taken: list[Job] = []
    for _ in range(5):
        job = house.leases.take("w", now, 1e6)
        assert job
        taken.append(job)
        now += seconds(10)
        house.end(job, now)

    assert [job.tenant_id for job in taken].count(OTHER) == 2
    assert [job.id for job in taken if job.tenant_id == OTHER] == [first.id, second.id]
    assert taken[2].tenant_id != taken[1].tenant_id


def test_place_goes_to_the_tenant_that_has_fewer(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    house.start()
    house.start()
    house.submit()
    others = house.submit(OTHER, NOW + seconds(9))

    job = house.leases.take("w", NOW + seconds(10), 10)

    assert job is not None
    assert job.id == others.id


def test_jobs_of_a_tenant_are_taken_in_the_order_of_their_queue(house_of: MakeHouse) -> None:
    house = house_of(Quotas())
    waiting = [house.submit(now=NOW + seconds(number)) for number in range(4)]

    taken = [house.leases.take("w", NOW + seconds(10), 10) for _ in range(5)]

    assert [job and job.id for job in taken] == [*(job.id for job in waiting), None]
