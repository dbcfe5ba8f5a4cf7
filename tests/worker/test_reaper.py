"""The reaper's rounds, with a real database; the broker only counts."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from app.accounts.principal import DEFAULT_TENANT
from app.accounts.quotas import Quotas
from app.jobs.job import JobState
from app.jobs.leases import JobLeases
from app.jobs.presence import WorkerPresence
from tests.e2e.faults.conftest import wait_until
from tests.fakes import FakeQueue
from tests.worker.conftest import Desk
from worker.reaper import Reaper


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def reaper(desk: Desk, queue: FakeQueue) -> Reaper:
    return Reaper(replace(desk.shop, queue=queue))


def test_reaper_sends_a_message_that_was_never_sent_and_remembers_it(
    desk: Desk, reaper: Reaper, queue: FakeQueue
) -> None:
    job = desk.submit()

    reaper.look_around()
    reaper.look_around()

    assert queue.sent == [job.id]


def test_reaper_queues_and_sends_a_job_again_when_its_lease_is_lost(
    desk: Desk, reaper: Reaper, queue: FakeQueue
) -> None:
    job, long_ago = desk.submit(), desk.shop.clock() - timedelta(minutes=1)
    desk.shop.leases.claim(job.id, "a dead worker", long_ago, desk.shop.settings.lease_s)

    reaper.look_around()

    assert (desk.shop.jobs.get(DEFAULT_TENANT, job.id).state, queue.sent) == ("queued", [job.id])


def test_reaper_wakes_the_next_job_of_a_tenant_whose_last_one_was_lost(
    desk: Desk, queue: FakeQueue
) -> None:
    leases = JobLeases(desk.shop.leases.database, Quotas(jobs_running=1))
    shop, now = replace(desk.shop, queue=queue, leases=leases), desk.shop.clock()
    lost, waiting = desk.submit(), desk.submit()
    for _ in range(shop.settings.max_attempts - 1):
        handed = leases.claim(lost.id, "a worker", now, 10)
        assert handed
        leases.hand_back(lost.id, handed.fence, now, counts=True)
    leases.claim(lost.id, "a dead worker", now - timedelta(minutes=1), 10)
    shop.jobs.mark_sent(waiting.id, now)

    Reaper(shop).look_around()

    assert shop.jobs.get(DEFAULT_TENANT, lost.id).state is JobState.FAILED
    assert queue.sent == [waiting.id]


def test_reaper_says_that_its_worker_lives(desk: Desk, reaper: Reaper) -> None:
    reaper.look_around()

    assert workers_seen(desk) == [desk.shop.name]


def test_reaper_removes_what_a_dead_worker_left(desk: Desk, reaper: Reaper) -> None:
    dead = desk.shop.folder.parent / "dead"
    (dead / "job_1").mkdir(parents=True)
    dead.with_suffix(".lock").touch()

    reaper.look_around()

    assert not dead.exists()
    assert desk.shop.folder.is_dir()


def test_reaper_gives_living_workers_time_when_the_database_was_away(
    desk: Desk, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, long_ago = desk.submit(), desk.shop.clock() - timedelta(minutes=1)
    desk.shop.leases.claim(job.id, "a worker", long_ago, desk.shop.settings.lease_s)
    often = desk.shop.settings.model_copy(update={"reap_s": 0.01})
    reaper = Reaper(replace(desk.shop, queue=queue, settings=often))
    with monkeypatch.context() as broken:
        broken.setattr(WorkerPresence, "beat", away)
        reaper.start()
        wait_until(lambda: reaper.is_lenient, "the reaper has seen that the database is away")
    wait_until(lambda: is_present(desk), "the database is back")

    reaper.look_around()
    reaper.stop()

    assert desk.shop.jobs.get(DEFAULT_TENANT, job.id).state is JobState.RUNNING


def test_reaper_stops_when_it_was_never_started(reaper: Reaper) -> None:
    reaper.stop()


def test_reaper_stops_when_the_database_is_away(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerPresence, "leave", away)
    reaper.start()

    reaper.stop()


def away(*_: object) -> None:
    raise OperationalError("UPDATE", {}, Exception("server closed the connection"))


def is_present(desk: Desk) -> bool:
    return desk.shop.name in workers_seen(desk)


def workers_seen(desk: Desk) -> list[str]:
    return [worker.name for worker in desk.shop.presence.live_workers(desk.shop.clock(), 60)]
