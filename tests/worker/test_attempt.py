"""One attempt, from its claim to its end in the database: whatever the child does, it ends."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app import confinement
from app.accounts.principal import DEFAULT_TENANT
from app.errors import EngineFault
from app.jobs.job import Job, JobState
from app.jobs.leases import JobLeases
from app.jobs.outcomes import Renewal
from tests.e2e.faults.conftest import wait_until
from tests.fakes import a_change
from tests.worker.conftest import PROLOGUE, Desk, a_desk
from worker import attempt
from worker.children import Child
from worker.collecting import read_result
from worker.disk_usage import Unseen
from worker.engine.order import Result
from worker.job_folder import JobFolder
from worker.limits import child_environment
from worker.session_usage import SessionUse
from worker.tasks import carry_out


def error_of(job: Job) -> tuple[str, str | None]:
    assert job.error is not None
    return job.error["code"], job.error["stage"]


def test_attempt_succeeds_with_report_and_artifact(desk: Desk) -> None:
    job = desk.do("artifact.write_bytes(b'tiny'); leave()")

    assert (job.state, job.verdict, job.attempt) == (JobState.SUCCEEDED, "met", 1)
    assert job.report is not None
    [artifact] = desk.shop.jobs.artifacts(DEFAULT_TENANT, job.id)
    assert desk.shop.blobs.path(artifact.sha256).read_bytes() == b"tiny"


def test_attempt_leaves_no_folder_behind(desk: Desk) -> None:
    desk.do("artifact.write_bytes(b'tiny'); leave()")

    assert list(desk.shop.folder.iterdir()) == []


@pytest.mark.parametrize("code", ["cancelled", "run_time_exceeded", "quota_run_seconds"])
def test_child_decides_nothing_that_only_others_know(desk: Desk, code: str) -> None:
    problem = EngineFault("so I say").as_problem().model_copy(update={"code": code})

    job = desk.do(f"say('error', problem={problem.model_dump(mode='json')!r})")

    assert job.state is JobState.FAILED
    assert error_of(job)[0] == "engine_fault"


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_crash_costs_one_attempt_when_more_are_left(desk: Desk, number: str) -> None:
    job = desk.do(f"say('phase', phase='exporting'); os.kill(os.getpid(), signal.{number})")

    assert (job.state, job.attempt, job.error) == (JobState.QUEUED, 1, None)


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV"])
def test_crash_ends_the_job_when_it_was_the_last_attempt(desk: Desk, number: str) -> None:
    job = desk.do(f"say('phase', phase='exporting'); os.kill(os.getpid(), signal.{number})")
    for _ in range(desk.shop.settings.max_attempts - 1):
        carry_out(desk.shop, job.id)

    ended = desk.shop.jobs.get(DEFAULT_TENANT, job.id)
    assert (ended.state, ended.attempt) == (JobState.FAILED, 3)
    assert error_of(ended) == ("child_crashed", "exporting")
    assert ended.error is not None
    assert number in ended.error["detail"]


def test_kill_for_want_of_memory_is_told_apart_from_other_kills(
    open_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, seen = Child.use, tmp_path / "seen"

    def telling_look(child: Child) -> SessionUse:
        use = look(child)
        if use.resident_bytes > 220 << 20:
            seen.touch()
        return use

    monkeypatch.setattr(Child, "use", telling_look)

    job = open_desk.do(
        f"held = b'x' * (240 << 20); say('phase', phase='training'); seen = Path({str(seen)!r})\n"
        "while not seen.exists(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        run_s=30,
    )

    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert error_of(job) == ("out_of_memory", "training")


def test_child_is_ended_when_it_holds_more_memory_than_allowed(open_desk: Desk) -> None:
    job = open_desk.do("say('phase', phase='training'); held = b'x' * (300 << 20); time.sleep(60)")

    assert error_of(job) == ("out_of_memory", "training")


def test_child_that_closes_its_channel_and_lives_on_is_ended(desk: Desk) -> None:
    job = desk.do("os.close(int(sys.argv[1])); time.sleep(60)")

    assert (job.state, job.attempt) == (JobState.QUEUED, 1)


def test_child_that_dies_while_its_own_child_holds_the_channel_is_noticed(desk: Desk) -> None:
    job = desk.do("os.fork() or time.sleep(60)\nos.kill(os.getpid(), signal.SIGSEGV)")

    assert (job.state, job.attempt) == (JobState.QUEUED, 1)


@pytest.mark.parametrize(
    "result",
    [
        "os.mkfifo(folder / 'out/result.json')",
        "(folder / 'out/result.json').mkdir()",
        "(folder / 'out/result.json').symlink_to('/etc/passwd')",
        "(folder / 'out/result.json').write_text('{}')",
        "pass",
    ],
)
def test_job_fails_when_its_result_cannot_be_trusted(open_desk: Desk, result: str) -> None:
    job = open_desk.do(f"say('phase', phase='reporting'); {result}; say('done')")

    assert job.state is JobState.FAILED
    assert error_of(job) == ("engine_fault", "reporting")


@pytest.mark.parametrize(
    "artifact", ["artifact.symlink_to('/etc/passwd')", "os.mkfifo(artifact)", "artifact.mkdir()"]
)
def test_job_fails_when_an_artifact_is_no_plain_file(open_desk: Desk, artifact: str) -> None:
    job = open_desk.do(f"{artifact}; leave()")

    assert job.state is JobState.FAILED
    assert error_of(job)[0] == "engine_fault"
    assert open_desk.shop.jobs.artifacts(DEFAULT_TENANT, job.id) == []


def test_job_fails_when_a_promised_artifact_is_missing(desk: Desk) -> None:
    job = desk.do("leave()")

    assert error_of(job)[0] == "engine_fault"


def test_problem_names_the_stage_when_the_child_did_not(desk: Desk) -> None:
    job = desk.do(
        "say('phase', phase='measuring'); say('error', problem=dict(code='engine_fault', "
        "title='t', detail='d', stage=None, errors=[], retryable=False, hint='h'))"
    )

    assert error_of(job) == ("engine_fault", "measuring")


def test_job_is_timed_out_with_its_stage_when_it_runs_too_long(desk: Desk) -> None:
    job = desk.do("say('phase', phase='training'); time.sleep(60)", run_s=0.5)

    assert job.state is JobState.TIMED_OUT
    assert error_of(job) == ("run_time_exceeded", "training")


def test_cancel_ends_a_child_that_is_deaf_in_a_long_batch(desk: Desk) -> None:
    """It looks for `cancel` between batches only; the worker waits no longer than the grace."""
    desk.script.write_text(f"{PROLOGUE}say('phase', phase='step 1: fine_tuning')\ntime.sleep(600)")
    job = desk.submit()
    attempt = threading.Thread(target=carry_out, args=(desk.shop, job.id))
    attempt.start()
    while desk.shop.jobs.get(DEFAULT_TENANT, job.id).phase != "step 1: fine_tuning":
        time.sleep(0.02)

    desk.shop.jobs.request_cancel(a_change(), job.id, desk.shop.clock())
    attempt.join(timeout=200)

    assert desk.shop.jobs.get(DEFAULT_TENANT, job.id).state is JobState.CANCELLED


def test_error_names_no_path_of_the_worker(desk: Desk) -> None:
    job = desk.do("say('done')")

    assert job.error is not None
    assert str(desk.shop.settings.home) not in str(job.error)


def test_every_event_is_stored_before_the_last_state(desk: Desk) -> None:
    job = desk.do(
        "artifact.write_bytes(b'x')\nfor name in 'abcdefgh': say('phase', phase=name)\nleave()"
    )

    events = desk.shop.jobs.events(DEFAULT_TENANT, job.id, 0, 100)
    assert [e.data["phase"] for e in events if e.type == "phase"] == list("abcdefgh")
    assert events[-1].data["state"] == "succeeded"


def test_temporary_files_go_with_the_job(desk: Desk) -> None:
    job = desk.do(
        "import tempfile; left = tempfile.mkstemp()[1]\n"
        "assert Path(left).is_relative_to(folder / 'scratch')\n"
        "artifact.write_bytes(b'x'); leave()"
    )

    assert job.state is JobState.SUCCEEDED
    assert not [path for path in Path(desk.shop.settings.home).rglob("tmp*") if path.is_file()]


def test_child_imports_nothing_from_the_folder_that_jobs_write_in(tmp_path: Path) -> None:
    (tmp_path / "dataclasses.py").write_text("raise SystemExit('planted')")

    run = subprocess.run(
        [sys.executable, "-m", "worker.limits"], env=child_environment(tmp_path), cwd=tmp_path
    )

    assert run.returncode == 0


def test_many_processes_are_too_many_before_as_many_threads_are(tmp_path: Path) -> None:
    with a_desk(tmp_path, confinement.command, job_memory_bytes=4 << 30) as desk:
        job = desk.do("all(os.fork() for _ in range(70)); time.sleep(60)")

    assert error_of(job)[0] == "too_many_processes"


@pytest.mark.parametrize("may_look", [True, False], ids=["may look", "may not look"])
def test_files_that_only_a_mapping_keeps_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_look: bool
) -> None:
    """Of 30 MiB each, without a name, closed: the disk's loss tells where nothing else does."""
    if not may_look:
        monkeypatch.setattr("worker.disk_usage._mapped", may_not_look)
    script = """
say('phase', phase='training')
held = []
for number in range(6):
    path = folder / "scratch" / "hidden"
    path.write_bytes(bytes(30 << 20))
    descriptor = os.open(path, os.O_RDONLY)
    held.append(libc.mmap(None, 4096, 1, 1, descriptor, 0))
    path.unlink()
    os.close(descriptor)
time.sleep(60)
"""
    libc = (
        "import ctypes; libc = ctypes.CDLL(None)\n"
        "libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_long] * 5]\n"
    )
    with a_desk(tmp_path, confinement.command, job_disk_bytes=100 << 20) as desk:
        job = desk.do(libc + script, run_s=30)

    assert error_of(job) == ("disk_limit_exceeded", "training")


def may_not_look(*_: object) -> None:
    raise Unseen


@dataclass
class HeldUp:
    """Does a job whose database takes in no event until nothing is left of the child.

    Both know by `seen` that it does not.
    """

    desk: Desk
    seen: Path
    is_back: threading.Event = field(default_factory=threading.Event)

    def do(self, script: str, **limits: float) -> Job:
        wait = f"while not Path({str(self.seen)!r}).exists(): time.sleep(0.01)\n"
        begin = "say('phase', phase='training')\n"
        self.desk.script.write_text(PROLOGUE + begin + wait + script)
        job = self.desk.submit(**limits)
        doing = threading.Thread(target=carry_out, args=(self.desk.shop, job.id))
        doing.start()
        try:
            wait_until(self.seen.exists, "the database is held up")
            wait_until(lambda: not list(self.desk.shop.folder.iterdir()), "nothing is left of it")
            assert self.desk.shop.jobs.get(DEFAULT_TENANT, job.id).state is JobState.RUNNING
        finally:
            self.is_back.set()
            doing.join()
        return self.desk.shop.jobs.get(DEFAULT_TENANT, job.id)


@pytest.fixture
def held_up(open_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeldUp:
    record, held_up = JobLeases.record, HeldUp(open_desk, tmp_path / "held-up")

    def late(leases: JobLeases, *facts: Any) -> bool:
        held_up.seen.touch()
        held_up.is_back.wait()
        return record(leases, *facts)

    monkeypatch.setattr(JobLeases, "record", late)
    return held_up


def test_child_is_ended_for_its_memory_while_the_database_does_not_answer(held_up: HeldUp) -> None:
    job = held_up.do("held = b'x' * (300 << 20); time.sleep(60)")

    assert error_of(job) == ("out_of_memory", "training")


def test_child_is_ended_for_its_time_while_the_database_does_not_answer(
    held_up: HeldUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def an_hour_later() -> float:
        return time.monotonic() + 3600 * held_up.seen.exists()

    monkeypatch.setattr(attempt, "time", SimpleNamespace(monotonic=an_hour_later))

    job = held_up.do("time.sleep(60)", run_s=3000)

    assert job.state is JobState.TIMED_OUT
    assert error_of(job) == ("run_time_exceeded", "training")


def test_result_is_collected_while_the_database_does_not_answer(held_up: HeldUp) -> None:
    job = held_up.do("artifact.write_bytes(b'x'); say('phase', phase='exporting'); leave()")

    assert job.state is JobState.SUCCEEDED
    events = held_up.desk.shop.jobs.events(DEFAULT_TENANT, job.id, 0, 100)
    assert [e.data["phase"] for e in events if e.type == "phase"] == ["training", "exporting"]
    assert events[-1].type == "state"


def test_child_that_closes_its_channel_is_watched_until_it_ends(
    open_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "EXIT_LIMIT_S", 60)

    job = open_desk.do("os.close(int(sys.argv[1])); held = b'x' * (300 << 20); time.sleep(60)")

    assert job.error is not None
    assert job.error["code"] == "out_of_memory"


def test_time_goes_on_while_the_result_is_collected(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=time.monotonic)
    monkeypatch.setattr(attempt, "time", clock)

    def an_hour_later(folder: JobFolder) -> Result:
        clock.monotonic = lambda: time.monotonic() + 3600
        return read_result(folder)

    monkeypatch.setattr(attempt, "read_result", an_hour_later)

    job = desk.do("artifact.write_bytes(b'x'); leave()", run_s=3000)

    assert job.state is JobState.TIMED_OUT
    assert error_of(job)[0] == "run_time_exceeded"


def test_job_is_handed_back_when_the_worker_has_to_stop_while_it_collects(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_to_stop(folder: JobFolder) -> Result:
        desk.shop.closing.begin(at_once=True)
        return read_result(folder)

    monkeypatch.setattr(attempt, "read_result", told_to_stop)

    job = desk.do("artifact.write_bytes(b'x'); leave()")

    assert (job.state, job.attempt, job.error) == (JobState.QUEUED, 0, None)


@pytest.mark.parametrize(
    ("limit", "then"), [("job_output_bytes", "leave()"), ("job_disk_bytes", "time.sleep(600)")]
)
def test_holes_of_outputs_count_as_they_would_when_copied(
    tmp_path: Path, limit: str, then: str
) -> None:
    with a_desk(tmp_path, confinement.command, **{limit: 8 << 20}) as desk:
        job = desk.do(f"artifact.open('wb').truncate(9 << 20); {then}", run_s=30)

    assert error_of(job)[0] == "output_limit_exceeded"
    assert job.error is not None
    assert "holes" not in job.error["detail"]


def test_job_that_would_take_of_the_reserve_of_the_blobs_fails(tmp_path: Path) -> None:
    with a_desk(tmp_path, confinement.command, disk_reserve_bytes=1 << 60) as desk:
        job = desk.do("artifact.write_bytes(b'x'); leave()")

    assert job.state is JobState.FAILED
    assert error_of(job)[0] == "storage_full"
    assert job.error is not None
    assert "Add space" in job.error["hint"]


def test_cancel_is_heard_while_the_result_is_collected(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, heard = JobLeases.look, list[Renewal]()
    desk.script.write_text(PROLOGUE + "artifact.write_bytes(b'x'); leave()")
    job = desk.submit()

    def telling_look(leases: JobLeases, job_id: str, fence: int) -> Renewal:
        seen = look(leases, job_id, fence)
        heard.extend([seen] if seen.cancel_requested else [])
        return seen

    def cancelled_meanwhile(folder: JobFolder) -> Result:
        desk.shop.jobs.request_cancel(a_change(), job.id, desk.shop.clock())
        # Who looks a second time has told of the first.
        wait_until(lambda: len(heard) > 1, "the cancel is heard")
        return read_result(folder)

    monkeypatch.setattr(JobLeases, "look", telling_look)
    monkeypatch.setattr(attempt, "read_result", cancelled_meanwhile)

    carry_out(desk.shop, job.id)

    assert desk.shop.jobs.get(DEFAULT_TENANT, job.id).state is JobState.CANCELLED
