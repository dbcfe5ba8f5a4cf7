"""Resident memory that loading and running a file adds, and whether it survives that."""

import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path

STATUS = Path("/proc/self/status")
ANSWER = struct.Struct("q")


class Died(Exception):
    """The process that tried the file ended without an answer; the text says how."""


def growth_bytes(work: Callable[[], object]) -> int:
    """How far the peak of resident memory rose above what was resident before `work`."""
    before = _status_bytes("VmRSS")
    peak_before = _peak_bytes()
    kept = work()
    peak = _peak_bytes()
    after = peak if peak > peak_before else _status_bytes("VmRSS")
    del kept
    return max(0, after - before)


def growth_bytes_apart(work: Callable[[], object]) -> int:
    """`growth_bytes` in a forked process: nothing else counts in, and a crash stays there.

    Only for a process with a single thread. A forked process starts with its peak at what is
    resident, so the growth is exact.
    Raises: Died with the signal or the error's words.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(work, reading, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise Died(f"the runtime crashed on it ({name})")
    growth = ANSWER.unpack(answer[: ANSWER.size])[0] if len(answer) >= ANSWER.size else -1
    if growth < 0:
        raise Died(answer[ANSWER.size :].decode(errors="replace") or "the runtime ended early")
    return int(growth)


def _answer(work: Callable[[], object], reading: int, writing: int) -> None:
    """The forked child's whole life: it must never return into the parent's code."""
    try:
        os.close(reading)
        os.write(writing, ANSWER.pack(growth_bytes(work)))
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent names it
        os.write(writing, ANSWER.pack(-1) + str(error)[:300].encode())
    finally:
        os._exit(0)


def _peak_bytes() -> int:
    # Not ru_maxrss: that one survives exec, so a small process inherits a large parent's peak.
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {field}")
