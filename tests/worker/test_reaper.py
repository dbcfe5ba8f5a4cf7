"""The reaper's rounds, with a real database; the broker only counts."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes import FakeQueue
from tests.worker.conftest import Desk
from worker.reaper import Reaper
from worker.workshop import own_folder, sweep_folders


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

    assert (desk.shop.jobs.get(job.id).state, queue.sent) == ("queued", [job.id])


def test_reaper_says_that_its_worker_lives(desk: Desk, reaper: Reaper) -> None:
    reaper.look_around()

    assert desk.shop.presence.live_workers(desk.shop.clock(), 60) == [desk.shop.name]


def test_reaper_removes_what_a_dead_worker_left(desk: Desk, reaper: Reaper) -> None:
    dead, lock = own_folder(desk.shop.folder.parent, "dead")
    (dead / "job_1").mkdir()
    lock.close()

    reaper.look_around()

    assert not dead.exists()
    assert desk.shop.folder.is_dir()


def test_sweep_leaves_the_folders_of_living_workers(tmp_path: Path) -> None:
    folder, lock = own_folder(tmp_path, "living")

    sweep_folders(tmp_path)

    with lock:
        assert folder.is_dir()
