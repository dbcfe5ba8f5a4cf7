"""A child: what it is given, what it may use, and how it ends. Real processes, no engine."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app import confinement
from app.errors import ChildCrashed, EngineFault, OutOfMemory
from tests.e2e.faults.conftest import wait_until
from tests.worker.conftest import without_a_box
from worker.children import Child
from worker.engine.order import Event
from worker.launching import Enclose, Launcher
from worker.limits import Limits
from worker.sessions import Session
from worker.spares import Spares

LIMITS = Limits(memory_bytes=1 << 30, file_bytes=1 << 20)
CORES = frozenset(os.sched_getaffinity(0))
# What every child script begins with: its channel is the first argument.
PROLOGUE = "import os, sys, time, resource; channel = int(sys.argv[1])\n"

Start = Callable[[str], Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a script without a box: what the worker has to bear where one was broken."""
    yield from starting(tmp_path, without_a_box)


@pytest.fixture
def start_boxed(tmp_path: Path) -> Iterator[Start]:
    yield from starting(tmp_path, confinement.command)


def starting(home: Path, enclose: Enclose) -> Iterator[Start]:
    children: list[Child] = []
    with ThreadPoolExecutor(max_workers=1) as thread:

        def launch(script: str) -> Child:
            command = (sys.executable, "-c", PROLOGUE + script)
            children.append(Launcher(command, LIMITS, home, thread, enclose).start(CORES))
            return children[-1]

        yield launch
        for child in children:
            child.end()


def events_of(child: Child) -> list[Event]:
    """Everything it says until it closes its channel."""
    said: list[Event] = []
    while (events := child.read(60)) is not None:
        said += events
    return said


def said_by(child: Child) -> str:
    """What it printed until its end."""
    assert events_of(child) == []
    child.process.wait()
    child.kill()
    return child.log_tail().strip()


def is_running(pid: int) -> bool:
    """A killed process that nobody has waited for yet is a zombie, `Z`."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_child_sees_no_variable_that_is_not_passed_on(
    start_boxed: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENJING_DATABASE_URL", "postgresql://user:secret@db/penjing")

    child = start_boxed("print(sorted(os.environ))")

    said = said_by(child)
    assert "HOME" in said
    assert "PENJING_DATABASE_URL" not in said


def test_boxed_child_inherits_no_file_but_its_channel(start_boxed: Start, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        child = start_boxed(
            """
held = []
for number in range(1024):
    try: os.fstat(number); held.append(number)
    except OSError: pass
print(held == [0, 1, 2, channel])
"""
        )
        assert said_by(child) == "True"


def test_boxed_child_is_bound_to_its_folder(start_boxed: Start) -> None:
    child = start_boxed(
        """
folder = sys.argv[2]
open(folder + "/scratch/own", "w").close(); open(folder + "/checkpoints/own", "w").close()
for path in (folder + "/in/more", folder + "/more", folder + "/../more"):
    try: open(path, "w")
    except PermissionError: continue
    print("could write", path)
print(os.getcwd() == folder + "/scratch", os.environ["HOME"] == folder + "/scratch")
"""
    )

    assert said_by(child) == "True True"


def test_boxed_child_can_touch_and_copy_files(start_boxed: Start) -> None:
    child = start_boxed(
        """
import pathlib, shutil
pathlib.Path("made").touch(); pathlib.Path("made").touch()
shutil.copy2("made", "copied")
print(sorted(path.name for path in pathlib.Path().iterdir()))
"""
    )

    assert said_by(child) == "['copied', 'made']"


def test_boxed_child_is_limited_by_the_kernel(start_boxed: Start) -> None:
    child = start_boxed(
        "print(resource.getrlimit(resource.RLIMIT_DATA), resource.getrlimit(resource.RLIMIT_CORE))"
    )

    assert said_by(child) == f"({1 << 30}, {1 << 30}) (0, 0)"


def test_child_runs_on_the_cores_it_is_given(tmp_path: Path) -> None:
    core = frozenset({max(CORES)})
    with ThreadPoolExecutor(max_workers=1) as thread:
        script = PROLOGUE + "time.sleep(0.3); print(os.sched_getaffinity(0))"
        launcher = Launcher((sys.executable, "-c", script), LIMITS, tmp_path, thread)
        child = launcher.start(core)

        assert said_by(child) == str(set(core))
        child.end()


def test_events_arrive_whole_when_they_are_written_in_pieces(start: Start) -> None:
    child = start(
        """
line = b'{"event":"phase","phase":"loading"}\\n'
os.write(channel, line[:9]); time.sleep(0.05); os.write(channel, line[9:] + line)
"""
    )

    assert [event.phase for event in events_of(child)] == ["loading", "loading"]


@pytest.mark.parametrize("said", ["b'nonsense\\n'", 'b\'{"event": "party"}\\n\'', "b'x' * 2**21"])
def test_anything_but_an_event_is_a_fault(start: Start, said: str) -> None:
    child = start(f"os.write(channel, {said}); time.sleep(10)")

    with pytest.raises(EngineFault):
        events_of(child)


def is_done_soon(child: Child, act: Callable[[], object]) -> bool:
    """Whether it comes to its end while the child lives; the end of the child ends it else."""
    acting = threading.Thread(target=act)
    acting.start()
    acting.join(timeout=30)
    is_done = not acting.is_alive()
    child.kill()
    acting.join()
    return is_done


def test_read_does_not_wait_for_what_the_child_took_back(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    child = start(
        f"""
os.write(channel, b'{{"event":"ready"}}\\n')
open({str(said)!r}, "w").close()
time.sleep(600)
"""
    )
    wait_until(said.exists, "the child has said that it is ready")
    seen = select.select

    def seen_and_gone(channels: list[int], *rest: Any) -> Any:
        found = seen(channels, *rest)
        os.read(channels[0], 1 << 14)  # as the child does, by way of /proc/self/fd
        return found

    monkeypatch.setattr(select, "select", seen_and_gone)

    assert is_done_soon(child, partial(child.read, 600))


def test_going_does_not_wait_for_a_child_that_filled_its_own_input(start_boxed: Start) -> None:
    child = start_boxed(
        """
own = os.open("/proc/self/fd/0", os.O_WRONLY | os.O_NONBLOCK)
try:
    while True: os.write(own, bytes(4096))
except BlockingIOError: os.write(channel, b'{"event":"ready"}\\n')
time.sleep(30)
"""
    )
    child.read(60)

    assert is_done_soon(child, child.go)


def test_number_of_a_dead_child_is_nobody_elses_until_its_session_is_ended(start: Start) -> None:
    child = start("")
    number = Path(f"/proc/{child.process.pid}")
    wait_until(lambda: not child.is_alive(), "the child is dead")

    assert number.exists()
    child.kill()
    assert not number.exists()
    assert not child.is_alive()


def test_kill_ends_everything_the_child_started(start: Start) -> None:
    child = start(
        """
import subprocess
other = subprocess.Popen(["sleep", "60"], process_group=0)
print(other.pid, flush=True)
os.write(channel, b'{"event":"ready"}\\n')
time.sleep(60)
"""
    )
    child.read(60)
    wait_until(lambda: bool(child.log_tail().strip()), "the other process has started")
    grandchild = int(child.log_tail())

    child.kill()

    assert not child.is_alive()
    # It is no child of this process: there is nothing to wait for, and a signal takes a moment.
    wait_until(lambda: not is_running(grandchild), "the other process is dead")


def test_kill_does_not_wait_for_a_process_that_left_the_session(start: Start) -> None:
    child = start(
        """
import subprocess
other = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(other.pid, flush=True)
"""
    )
    events_of(child)
    child.process.wait()
    wait_until(lambda: bool(child.log_tail().strip()), "the other process has started")
    killing = threading.Thread(target=child.kill)

    killing.start()
    killing.join(timeout=30)

    was_done = not killing.is_alive()
    os.kill(int(child.log_tail()), signal.SIGKILL)
    killing.join()
    assert was_done


def test_death_by_a_signal_names_it_and_the_stage(start: Start) -> None:
    child = start("os.kill(os.getpid(), 11)")
    events_of(child)
    assert child.ends_within(30)

    cause = child.cause_of_death("exporting")

    assert isinstance(cause, ChildCrashed)
    assert "SIGSEGV" in cause.detail
    assert cause.stage == "exporting"
    assert cause.hint


def test_death_for_want_of_memory_is_told_apart(start: Start) -> None:
    child = start("print('std::bad_alloc', flush=True); os.abort()")
    events_of(child)
    assert child.ends_within(30)

    assert isinstance(child.cause_of_death("training"), OutOfMemory)


def test_log_is_kept_to_its_tail(start: Start) -> None:
    child = start("sys.stdout.write('x' * (1 << 22)); print('the end')")
    events_of(child)
    child.process.wait()
    child.kill()

    assert child.log_tail().endswith("the end\n")
    assert len(child.log_tail()) < 1 << 18


def test_dead_spare_is_not_handed_out(tmp_path: Path) -> None:
    with ThreadPoolExecutor(max_workers=1) as thread:
        # It dies at once, or waits for its job.
        script = "os.path.exists(sys.argv[2] + '/../die') or sys.stdin.readline()"
        program = (sys.executable, "-c", PROLOGUE + script)
        launcher = Launcher(program, LIMITS, tmp_path, thread, without_a_box)
        spares = Spares(launcher, [CORES], are_warm=True)
        (tmp_path / "die").touch()
        spares.refill()
        (spare,) = tmp_path.glob("*/scratch")
        session = Session.read(spare.with_name("session"))
        assert session is not None
        wait_until(lambda: not is_running(session.leader), "the spare is dead")
        (tmp_path / "die").unlink()

        taken, place = spares.take()

        assert taken.is_alive()
        assert not spare.exists()
        taken.end()
        spares.give_back(place)
        spares.close()


def test_spares_give_each_job_a_place_of_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(max_workers=1) as thread:
        program = (sys.executable, "-c", PROLOGUE + "sys.stdin.readline()")
        launcher = Launcher(program, LIMITS, tmp_path, thread, without_a_box)
        spares = Spares(launcher, [frozenset({0}), frozenset({1})], are_warm=True)
        spares.refill()
        first, second = spares.take(), spares.take()

        assert {frozenset({0}), frozenset({1})} == {first[1].cores, second[1].cores}
        for child, place in (first, second):
            child.end()
            spares.give_back(place)
        spares.refill()
        assert len(list(tmp_path.iterdir())) == 2
        spares.close()
        assert list(tmp_path.iterdir()) == []
