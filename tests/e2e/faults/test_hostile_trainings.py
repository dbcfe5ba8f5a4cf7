"""Whatever a training takes, it ends at its limit, with its code, and nothing of it is left."""

import time
from pathlib import Path

import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.jobs.job import Job, JobState
from tests.e2e.faults.conftest import Farm, wait_until
from tests.fakes import a_change

pytestmark = pytest.mark.e2e

MIB = 1 << 20
LIMITS = {
    "PENJING_WORKER_CONCURRENCY": "2",
    "PENJING_JOB_MEMORY_BYTES": str(1024 * MIB),
    "PENJING_JOB_TASKS": "16",
    "PENJING_JOB_DISK_BYTES": str(256 * MIB),
    "PENJING_JOB_FILES": "2000",
    "PENJING_JOB_OUTPUT_BYTES": str(128 * MIB),
}
QUICK = ["memory-bomb", "fork-bomb", "large-file", "many-files", "output-bomb"]
CODES = {
    "endless": "run_time_exceeded",
    "memory-bomb": "out_of_memory",
    "fork-bomb": "too_many_processes",
    "heavy-fork-bomb": "too_many_processes",
    "thread-bomb": "too_many_processes",
    "large-file": "disk_limit_exceeded",
    "nameless-file": "disk_limit_exceeded",
    "many-files": "disk_limit_exceeded",
    "deep-tree": "disk_limit_exceeded",
    "checkpoint-bomb": "disk_limit_exceeded",
    "output-bomb": "output_limit_exceeded",
    "output-flood": "output_limit_exceeded",
    "log-flood": "output_limit_exceeded",
    "event-flood": "output_limit_exceeded",
}
TRICKS = {
    "memory-that-is-no-data": "out_of_memory",
    "reserved-files": "disk_limit_exceeded",
    "sparse-artifact": "output_limit_exceeded",
    "rename-storm": "disk_limit_exceeded",
    "hard-links": "disk_limit_exceeded",
    "leaves-the-session": "run_time_exceeded",
    "stops-itself": "run_time_exceeded",
    "closes-all-files": "child_crashed",
    "half-an-event": "run_time_exceeded",
    "half-a-large-event": "engine_fault",
    "takes-back-what-it-says": "run_time_exceeded",
    "leaves-a-fork-that-holds-its-pipes": "child_crashed",
    "zombie-storm": "too_many_processes",
    "spawns": "too_many_processes",
    "becomes-another-again-and-again": "run_time_exceeded",
    "takes-all-cores": "run_time_exceeded",
    "takes-what-the-kernel-gives": "run_time_exceeded",
    "recursion-in-c": "child_crashed",
    "result-is-a-folder": "engine_fault",
    "done-again-and-again": "engine_fault",
    "nested-event": "engine_fault",
    "number-without-end": "engine_fault",
    "links-and-pipes": "engine_fault",
}
CODES |= TRICKS
# Those that end at once.
QUICK_TRICKS = ["half-a-large-event", "links-and-pipes", "sparse-artifact", "zombie-storm"]
RUN_S = 20.0
# A crash is tried again, as often as it may be.
ATTEMPTS = {"child_crashed": 3}


def ended(farm: Farm, behaviour: str, limit_s: float) -> Job:
    """The hostile job after its end, with an honest one beside it that succeeds."""
    hostile = farm.submit(behaviour, run_s=2 if CODES[behaviour] == "run_time_exceeded" else RUN_S)
    honest = farm.submit("steps-1")
    wait_until(lambda: farm.state(hostile).is_final, f"{behaviour} ends", limit_s)
    farm.wait_for(honest, JobState.SUCCEEDED)
    return farm.jobs.get(DEFAULT_TENANT, hostile.id)


def assert_nothing_is_left(farm: Farm) -> None:
    work = farm.home / "work"
    wait_until(lambda: not list(work.glob("*/*/*")), "the folders are gone", 10)
    wait_until(lambda: not processes_in(work), "the processes are gone", 10)


def processes_in(folder: Path) -> list[str]:
    """Of children: they work in a folder of their own, which may be gone by now."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(str(folder)):
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "behaviours",
    [
        pytest.param(QUICK, id="quick"),
        pytest.param(QUICK_TRICKS, id="quick-tricks"),
        *(pytest.param([name], id=name, marks=pytest.mark.hostile) for name in CODES),
    ],
)
def test_hostile_training_ends_at_its_limit_and_leaves_nothing(
    farm: Farm, behaviours: list[str]
) -> None:
    worker = farm.start_worker(**LIMITS, PENJING_WARM_SPARE="0")
    for behaviour in behaviours:
        started = time.monotonic()
        code = CODES[behaviour]
        job = ended(farm, behaviour, (RUN_S - 2) * ATTEMPTS.get(code, 1))

        assert job.error is not None
        assert (job.error["code"], job.attempt) == (code, ATTEMPTS.get(code, 1)), job.error
        # One that is quick enough is ended before its first word is read.
        assert job.error["stage"] in ("starting", "pretending", "running")
        assert job.error["hint"] or code == "engine_fault"
        print(f"{behaviour}: {time.monotonic() - started:.1f} s")
    assert_nothing_is_left(farm)
    assert worker.poll() is None


def test_what_a_child_of_a_killed_worker_had_forked_is_ended_by_the_next(farm: Farm) -> None:
    work = farm.home / "work"
    killed = farm.start_worker(PENJING_WARM_SPARE="0")
    job = farm.submit("orphans")
    wait_until(lambda: len(processes_in(work)) == 4, "the child has forked")
    left = set(processes_in(work))
    [folder] = work.glob("*/*/scratch")

    killed.kill()
    killed.wait()
    wait_until(lambda: len(processes_in(work)) == 3, "the child itself is dead")
    farm.jobs.request_cancel(a_change(), job.id, job.created_at)
    farm.start_worker(PENJING_WARM_SPARE="0")

    assert not left & set(processes_in(work))
    assert not folder.exists()


def test_words_of_a_child_tell_no_paths(farm: Farm) -> None:
    farm.start_worker(PENJING_WARM_SPARE="0")
    job = farm.wait_for(farm.submit("telling"), JobState.FAILED)

    events = farm.jobs.events(DEFAULT_TENANT, job.id, 0, 100)
    told = f"{job.error}{[event.data for event in events]}"
    assert "could not open <path>" in told
    assert "see <path>" in told
    assert str(farm.home) not in told
    assert "Traceback" not in told
    assert "/lib/a.py" not in told
