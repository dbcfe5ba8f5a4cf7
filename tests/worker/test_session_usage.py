"""What a session uses is seen, also where its first thread hides it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.session_usage import held_still, shared_once, use_of_session
from worker.token_bucket import TokenBucket

# Its first thread ends; another one holds 50 MiB.
WITHOUT_A_FIRST_THREAD = """
import ctypes, threading, time
def hold():
    held = b"x" * (50 << 20)
    time.sleep(0.1)
    print("held", flush=True)
    time.sleep(60)
threading.Thread(target=hold).start()
ctypes.CDLL(None).pthread_exit(None)
"""
HELD_BYTES, FORKED = 100 << 20, 5
FORKS = f"""
import os, time
held, (reading, writing) = b"x" * {HELD_BYTES}, os.pipe()
for _ in range({FORKED}):
    if os.fork() == 0:
        {{does_each}}
        os.write(writing, b".")
        time.sleep(60)
told = 0
while told < {FORKED}: told += len(os.read(reading, 1))
print("forked", flush=True)
time.sleep(60)
"""
BUSY = "print('here', flush=True)\nwhile True: print('more', flush=True)"


def test_session_has_its_processes_their_threads_and_their_memory() -> None:
    use = use_of_session(os.getsid(0))

    assert os.getpid() in use.pids
    assert use.tasks >= len(use.pids)
    assert use.resident_bytes > 1 << 20


def test_pace_holds_back_what_is_beyond_its_burst() -> None:
    now = [0.0]
    pace = TokenBucket(100, 200, clock=lambda: now[0])

    assert pace.take(200) == 0
    assert pace.take(50) == pytest.approx(0.5)
    now[0] += 10
    assert pace.take(200) == 0
    assert pace.held_back_s == pytest.approx(0.5)


def test_memory_is_seen_behind_a_first_thread_that_has_ended() -> None:
    with running(WITHOUT_A_FIRST_THREAD) as process:
        assert use_of_session(process.pid).resident_bytes > 50 << 20


def test_tables_of_pages_count() -> None:
    """1 GiB that is read and never written takes 2 MiB of them, and no memory."""
    script = (
        "import mmap, time\n"
        "there = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)\n"
        "there.madvise(15)\n"  # MADV_NOHUGEPAGE
        "for at in range(0, 1 << 30, 2 << 20): there[at]\n"
        "print('read', flush=True); time.sleep(60)"
    )
    with running("print('here', flush=True); import time; time.sleep(60)") as process:
        before = use_of_session(process.pid).kernel_bytes
    with running(script) as process:
        assert use_of_session(process.pid).kernel_bytes - before > 1.9 * 2**20


@pytest.mark.parametrize(
    ("does_each", "are_shared"),
    [("pass", True), ("held = bytes(bytearray(b'y') * len(held))", False)],
    ids=["as it was", "written anew"],
)
def test_what_forks_share_counts_once(does_each: str, are_shared: bool) -> None:
    script = FORKS.format(does_each=does_each)
    with running(script) as process:
        use = use_of_session(process.pid)
        found = shared_once(use)
    assert len(use.pids) == 1 + FORKED
    assert use.resident_bytes > (1 + FORKED) * HELD_BYTES
    assert (found.resident_bytes < 2 * HELD_BYTES) is are_shared
    assert found.resident_bytes > HELD_BYTES * (1 if are_shared else FORKED)
    assert (found.tasks, found.kernel_bytes) == (use.tasks, use.kernel_bytes)


def test_all_that_is_resident_counts_where_shares_are_not_told_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.session_usage.SHARING_S", -1.0)
    with running(FORKS.format(does_each="pass")) as process:
        use = use_of_session(process.pid)
        assert shared_once(use).resident_bytes == use.resident_bytes


def test_nothing_moves_while_a_session_is_held_still() -> None:
    with running(BUSY) as process:
        with held_still(process.pid):
            before = cpu_ticks(process.pid)
            time.sleep(0.1)
            assert cpu_ticks(process.pid) == before
        assert process.stdout is not None
        for _ in range(1000):  # more than its pipe may hold by now
            assert process.stdout.readline()


@contextmanager
def running(script: str) -> Iterator["subprocess.Popen[bytes]"]:
    """In a session of its own, from its first word on."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    with process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
