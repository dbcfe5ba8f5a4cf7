"""Resident memory that loading and running a file adds, and whether it survives that."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from worker.engine.foreign import first_line

STATUS = Path("/proc/self/status")


class Died(Exception):
    """The process that tried the file ended without an answer; the text says how."""


def growth_bytes(work: Callable[[], object]) -> int | None:
    """How far the peak of resident memory rose above what was resident before `work`.

    Null where the system does not tell.
    """
    if not os.access(STATUS, os.R_OK):
        work()
        return None
    before, peak_before = _status_bytes("VmRSS"), _peak_bytes()
    kept = work()
    peak = _peak_bytes()
    after = peak if peak > peak_before else _status_bytes("VmRSS")
    del kept
    return max(0, after - before)


def growth_bytes_apart(work: Callable[[], object]) -> int | None:
    """`growth_bytes` in a forked process: nothing else counts in, and a crash stays there.

    Only for a process with a single thread. A forked process starts with its peak at what is
    resident, so the growth is exact.
    Raises: Died with the signal or the error's words.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise Died(f"the runtime crashed on it ({name})")
    found = json.loads(answer)
    if found["error"] is not None:
        raise Died(found["error"])
    growth: int | None = found["growth"]
    return growth


def _answer(work: Callable[[], object], writing: int) -> NoReturn:
    """The forked child's whole life: it must never return into the parent's code."""
    try:
        answer: dict[str, object] = {"growth": growth_bytes(work), "error": None}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent names it
        answer = {"growth": None, "error": first_line(error)}
    os.write(writing, json.dumps(answer).encode())
    os._exit(0)


def _peak_bytes() -> int:
    # Not ru_maxrss: that one survives exec, so a small process inherits a large parent's peak.
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {field}")
