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

from worker.session_usage import held_still, use_of_session
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
