"""Jobs are never lost and never run twice: real processes are killed, frozen and restarted."""

import os
import signal
import time
from html import unescape
from pathlib import Path

import httpx
import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.api.checks import UNCONFINED
from app.jobs.job import JobState
from tests.app.api.serving import served
from tests.e2e.faults.conftest import Farm, wait_until
from tests.fakes import a_change

pytestmark = pytest.mark.e2e


def session_of(pid: int) -> list[int]:
    """Living processes started by `pid`, at any depth."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(stat[1]) == pid and stat[0] != "Z":
            found += [int(entry.name), *session_of(int(entry.name))]
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_job_succeeds_with_its_artifact(farm: Farm) -> None:
    farm.start_worker()
    job = farm.submit("quick")

    done = farm.wait_for(job, JobState.SUCCEEDED)

    assert (done.attempt, done.verdict, done.progress) == (1, "met", 1.0)
    [artifact] = farm.jobs.artifacts(DEFAULT_TENANT, job.id)
    assert artifact.size_bytes == len(job.id)


def test_killed_worker_costs_one_more_attempt_and_leaves_no_process(farm: Farm) -> None:
    first = farm.start_worker()
    job = farm.submit("steps-3")
    farm.wait_running(job)
    children = session_of(first.pid)

    first.kill()
    first.wait()
    wait_until(lambda: not any(map(is_alive, children)), "no child outlives its worker")
    farm.start_worker()

    done = farm.wait_for(job, JobState.SUCCEEDED)
    assert (done.attempt, farm.runs_of(job), farm.times_ended(job)) == (2, 2, 1)
    assert children


def test_queued_jobs_finish_once_when_the_broker_is_killed_and_restarted(farm: Farm) -> None:
    farm.start_worker()
    jobs = [farm.submit("steps-0.3") for _ in range(5)]

    farm.broker.kill()
    farm.broker.wait()
    farm.broker = farm.start_broker()

    for job in jobs:
        farm.wait_for(job, JobState.SUCCEEDED)
    assert [(farm.runs_of(job), farm.times_ended(job)) for job in jobs] == [(1, 1)] * 5


def test_queued_jobs_finish_once_when_the_broker_is_flushed(farm: Farm) -> None:
    farm.start_worker()
    jobs = [farm.submit("steps-0.3") for _ in range(5)]

    farm.flush_broker()

    for job in jobs:
        farm.wait_for(job, JobState.SUCCEEDED)
    assert [(farm.runs_of(job), farm.times_ended(job)) for job in jobs] == [(1, 1)] * 5


def test_message_delivered_five_times_runs_once(farm: Farm) -> None:
    farm.start_worker(PENJING_WORKER_CONCURRENCY="3")
    job = farm.submit("steps-0.5")
    for _ in range(4):
        farm.queue.send(job.id)
    last = farm.submit("quick")

    farm.wait_for(job, JobState.SUCCEEDED)
    farm.wait_for(last, JobState.SUCCEEDED)

    assert (farm.runs_of(job), farm.times_ended(job)) == (1, 1)


def test_job_whose_message_was_never_sent_is_found(farm: Farm) -> None:
    farm.start_worker()

    job = farm.submit("quick", send=False)

    farm.wait_for(job, JobState.SUCCEEDED)


def test_frozen_worker_is_fenced_out(farm: Farm) -> None:
    frozen = farm.start_worker()
    job = farm.submit("steps-1.5")
    farm.wait_running(job)
    os.kill(frozen.pid, signal.SIGSTOP)
    farm.start_worker()
    done = farm.wait_for(job, JobState.SUCCEEDED)

    os.kill(frozen.pid, signal.SIGCONT)
    log = farm.home / "worker.log"
    wait_until(lambda: b"job.lost" in log.read_bytes(), "the thawed worker sees that it lost")

    assert (done.attempt, farm.times_ended(job)) == (2, 1)
    assert farm.jobs.get(DEFAULT_TENANT, job.id) == done
    assert len(farm.jobs.artifacts(DEFAULT_TENANT, job.id)) == 1


def test_cancel_of_a_queued_job_takes_effect_at_once(farm: Farm) -> None:
    job = farm.submit("quick", send=False)

    cancelled = farm.jobs.request_cancel(a_change(), job.id, job.created_at)

    assert cancelled.state is JobState.CANCELLED
    farm.queue.send(job.id)
    farm.start_worker()
    farm.wait_for(farm.submit("quick"), JobState.SUCCEEDED)
    assert farm.runs_of(job) == 0


def test_cancel_of_a_running_job_ends_it_long_before_it_is_done(farm: Farm) -> None:
    farm.start_worker()
    job = farm.submit("slow")
    farm.wait_running(job)

    farm.jobs.request_cancel(a_change(), job.id, job.created_at)
    farm.wait_for(job, JobState.CANCELLED, limit_s=20)


def test_job_that_kills_its_process_each_time_fails_after_all_attempts(farm: Farm) -> None:
    farm.start_worker(PENJING_MAX_ATTEMPTS="2")
    job = farm.submit("crash")

    failed = farm.wait_for(job, JobState.FAILED)

    assert failed.error is not None
    assert (failed.error["code"], failed.attempt, farm.runs_of(job)) == ("child_crashed", 2, 2)
    assert failed.error["stage"] == "pretending"
    assert "SIGSEGV" in failed.error["detail"]
    assert failed.error["hint"]


def test_job_that_loses_its_worker_each_time_fails_after_all_attempts(farm: Farm) -> None:
    job = farm.submit("slow")
    for attempt in (1, 2):
        worker = farm.start_worker(PENJING_MAX_ATTEMPTS="2")
        farm.wait_running(job, attempt)
        worker.kill()
        worker.wait()
    farm.start_worker(PENJING_MAX_ATTEMPTS="2")

    failed = farm.wait_for(job, JobState.FAILED)

    assert failed.error is not None
    assert (failed.error["code"], failed.attempt) == ("worker_lost", 2)


def test_job_over_its_memory_limit_fails_with_the_reason(farm: Farm) -> None:
    farm.start_worker(PENJING_JOB_MEMORY_BYTES=str(200 << 20))
    job = farm.submit("endless-memory")

    failed = farm.wait_for(job, JobState.FAILED)

    assert failed.error is not None
    assert failed.error["code"] == "out_of_memory"


def test_job_over_its_time_limit_is_timed_out(farm: Farm) -> None:
    farm.start_worker()
    job = farm.submit("slow", run_s=1)

    late = farm.wait_for(job, JobState.TIMED_OUT)

    assert late.error is not None
    assert late.error["code"] == "run_time_exceeded"


def test_terminated_worker_hands_its_job_back_without_counting_the_attempt(farm: Farm) -> None:
    worker = farm.start_worker()
    job = farm.submit("slow")
    farm.wait_running(job)

    worker.terminate()
    worker.wait(timeout=60)

    back = farm.jobs.get(DEFAULT_TENANT, job.id)
    assert (back.state, back.attempt) == (JobState.QUEUED, 0)


def test_terminated_worker_lets_a_short_job_finish(farm: Farm) -> None:
    worker = farm.start_worker(PENJING_SHUTDOWN_GRACE_S="60")
    job = farm.submit("steps-1")
    farm.wait_running(job)

    worker.terminate()
    worker.wait(timeout=60)

    assert farm.jobs.get(DEFAULT_TENANT, job.id).state is JobState.SUCCEEDED
    assert [folder.name for folder in (farm.home / "work").glob("*/")] == ["checkpoints"]
    assert list((farm.home / "work" / "checkpoints").iterdir()) == []


def test_worker_without_a_box_leaves_jobs_to_others(farm: Farm) -> None:
    idle = farm.start_worker(WITHOUT_A_BOX="1", PENJING_RESEND_S="60")
    log = farm.home / "worker.log"
    wait_until(lambda: b"box.missing" in log.read_bytes(), "the worker says why it takes none")
    job = farm.submit("quick")

    time.sleep(1)  # a worker that took jobs would have done it
    assert farm.runs_of(job) == 0
    farm.start_worker(PENJING_RESEND_S="60")

    farm.wait_for(job, JobState.SUCCEEDED)
    assert idle.poll() is None


def test_worker_that_takes_jobs_without_a_box_is_shouted_about(farm: Farm) -> None:
    farm.start_worker(WITHOUT_A_BOX="1", PENJING_ALLOW_UNCONFINED="1")
    job = farm.submit("quick")
    farm.wait_for(job, JobState.SUCCEEDED)

    with served(farm.home, environment=farm.environment) as one:
        page, ready = (
            httpx.get(one.url + path, trust_env=False, timeout=30) for path in ("/", "/readyz")
        )

    assert ready.json()["checks"]["confinement"]["detail"] == UNCONFINED
    assert unescape(page.text).count(UNCONFINED) == 2  # the banner, and beside the check
    assert job.id in page.text
