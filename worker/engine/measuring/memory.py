"""Resident memory that loading and running a file adds, and whether it survives that."""

import json
import os
import resource
import signal
from collections.abc import Callable
from typing import NoReturn

from worker.engine.foreign import first_line

# In which Linux counts resident memory.
KILOBYTE = 1024


class Died(Exception):
    """The process that tried the file ended without an answer; the text says how."""


def growth_bytes(work: Callable[[], object]) -> int:
    """How far the peak of resident memory rose in `work` above what it was before.

    Only in a process that was forked and did not `exec` since: such a one begins with a peak of
    what is resident, while a program that was started inherits its starter's.
    """
    before = peak_bytes()
    work()
    return peak_bytes() - before


def growth_bytes_apart(work: Callable[[], object]) -> int:
    """`growth_bytes` in a forked process: nothing else counts in, and a crash stays there.

    Only for a process with a single thread.
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
    growth: int = found["growth"]
    return growth


def _answer(work: Callable[[], object], writing: int) -> NoReturn:
    """The forked child's whole life: it must never return into the parent's code."""
    try:
        answer: dict[str, object] = {"growth": growth_bytes(work), "error": None}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent names it
        answer = {"growth": None, "error": first_line(error)}
    os.write(writing, json.dumps(answer).encode())
    os._exit(0)


def peak_bytes() -> int:
    """Of this process. Not from `/proc`, which the box keeps closed."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE
