"""A worker that is told to stop lets its job finish or hands it back; an attempt is not lost."""

import signal
import time

import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.jobs.job import JobState
from tests.e2e.faults.conftest import Farm

pytestmark = pytest.mark.e2e


def assert_handed_back(farm: Farm, job_id: str) -> None:
    back = farm.jobs.get(DEFAULT_TENANT, job_id)
    assert (back.state, back.attempt, back.error) == (JobState.QUEUED, 0, None)


@pytest.mark.parametrize(
    "signals", [[signal.SIGQUIT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT]]
)
def test_worker_hands_its_job_back_at_once_when_told_urgently(
    farm: Farm, signals: list[signal.Signals]
) -> None:
    worker = farm.start_worker(PENJING_SHUTDOWN_GRACE_S="60")
    job = farm.submit("slow")
    farm.wait_running(job)

    for number in signals:
        worker.send_signal(number)
        time.sleep(0.2)  # two of a kind that wait for delivery are one
    worker.wait(timeout=50)

    assert worker.returncode == 0
    assert_handed_back(farm, job.id)


def test_job_that_was_handed_back_is_finished_by_another_worker(farm: Farm) -> None:
    first = farm.start_worker()
    job = farm.submit("steps-2")
    farm.wait_running(job)

    first.send_signal(signal.SIGQUIT)
    farm.start_worker()

    done = farm.wait_for(job, JobState.SUCCEEDED)
    assert (done.attempt, farm.runs_of(job), farm.times_ended(job)) == (1, 2, 1)


def test_worker_takes_no_other_job_when_it_is_stopping(farm: Farm) -> None:
    worker = farm.start_worker(PENJING_SHUTDOWN_GRACE_S="60")
    running, waiting = farm.submit("steps-2"), farm.submit("quick")
    farm.wait_running(running)

    worker.terminate()
    worker.wait(timeout=60)

    assert farm.state(running) is JobState.SUCCEEDED
    assert (farm.state(waiting), farm.runs_of(waiting)) == (JobState.QUEUED, 0)
