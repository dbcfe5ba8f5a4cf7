"""A child: what it is given, what it may use, and how it ends. Real processes, no engine."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import ChildCrashed, EngineFault, OutOfMemory
from tests.e2e.faults.conftest import wait_until
from worker.children import Child
from worker.engine.order import Event
from worker.launching import Launcher
from worker.limits import Limits
from worker.spares import Spares

LIMITS = Limits(memory_bytes=1 << 30, file_bytes=1 << 20)
# What every child script begins with: its channel is the first argument.
PROLOGUE = "import os, sys, time, resource; channel = int(sys.argv[1])\n"

Start = Callable[[str], Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children: list[Child] = []
    with ThreadPoolExecutor(max_workers=1) as thread:

        def launch(script: str) -> Child:
            command = (sys.executable, "-c", PROLOGUE + script)
            children.append(Launcher(command, LIMITS, tmp_path, thread).start())
            return children[-1]

        yield launch
        for child in children:
            child.kill()


def events_of(child: Child) -> list[Event]:
    """Everything it says until it closes its channel."""
    said: list[Event] = []
    while (events := child.read(10)) is not None:
        said += events
    return said


def is_running(pid: int) -> bool:
    """A killed process that nobody has waited for yet is a zombie, `Z`."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_child_sees_no_variable_that_is_not_passed_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENJING_DATABASE_URL", "postgresql://user:secret@db/penjing")

    child = start("print(sorted(os.environ))")

    assert events_of(child) == []
    child.process.wait()
    assert "HOME" in child.log_tail()
    assert "PENJING" not in child.log_tail()


def test_child_inherits_no_file_but_its_channel(start: Start) -> None:
    child = start("time.sleep(0.1); print(sorted(map(int, os.listdir('/proc/self/fd'))), channel)")

    events_of(child)
    child.process.wait()

    held, channel = child.log_tail().rsplit(" ", 1)
    # The listing itself needs one more.
    assert set(eval(held)) - {0, 1, 2, int(channel)} <= {3, 4}


def test_limits_bind_the_process_that_applies_them(start: Start) -> None:
    child = start(
        "import json; from worker.limits import Limits; Limits(**json.loads(sys.argv[3])).apply()\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA), resource.getrlimit(resource.RLIMIT_CORE))"
    )

    events_of(child)
    child.process.wait()

    assert child.log_tail().strip() == f"({1 << 30}, {1 << 30}) (0, 0)"


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
    child.read(10)
    wait_until(lambda: bool(child.log_tail().strip()), "the other process has started")
    grandchild = int(child.log_tail())

    child.kill()

    assert not child.is_alive()
    # It is no child of this process: there is nothing to wait for, and a signal takes a moment.
    wait_until(lambda: not is_running(grandchild), "the other process is dead", 5)


def test_kill_does_not_wait_for_a_process_that_left_the_session(start: Start) -> None:
    child = start(
        """
import subprocess
other = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(other.pid, flush=True)
"""
    )
    events_of(child)
    child.process.wait()
    wait_until(lambda: bool(child.log_tail().strip()), "the other process has started")
    killing = threading.Thread(target=child.kill, daemon=True)

    killing.start()
    killing.join(timeout=5)

    was_done = not killing.is_alive()
    os.kill(int(child.log_tail()), signal.SIGKILL)
    assert was_done


def test_job_child_gains_no_privileges(start: Start) -> None:
    child = start(
        """
import worker.child
worker.child.serve = lambda channel: print(open("/proc/self/status").read())
worker.child.main()
"""
    )
    events_of(child)
    child.process.wait()
    child.kill()

    assert "NoNewPrivs:\t1" in child.log_tail()


def test_death_by_a_signal_names_it_and_the_stage(start: Start) -> None:
    child = start("os.kill(os.getpid(), 11)")
    events_of(child)

    cause = child.cause_of_death("exporting")

    assert isinstance(cause, ChildCrashed)
    assert "SIGSEGV" in cause.detail
    assert cause.stage == "exporting"
    assert cause.hint


def test_death_for_want_of_memory_is_told_apart(start: Start) -> None:
    child = start("print('std::bad_alloc', flush=True); os.abort()")
    events_of(child)

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
        # The first one that starts dies at once, the others wait for their job.
        script = "import pathlib; first = pathlib.Path('first'); is_second = first.exists(); "
        script += "first.touch(); is_second and sys.stdin.readline()"
        launcher = Launcher((sys.executable, "-c", PROLOGUE + script), LIMITS, tmp_path, thread)
        spares = Spares(launcher, 1)
        spares.refill()
        wait_until(lambda: not is_running_child(tmp_path), "the first spare is dead")

        taken = spares.take()

        assert taken.is_alive()
        taken.kill()
        spares.close()


def is_running_child(home: Path) -> bool:
    """Whether the first child has not ended yet: its working folder tells it from others."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == home:
                return True
        except OSError:
            continue
    return not (home / "first").exists()
