"""Ceilings on what a process takes, by setrlimit, and how much of them is in use."""

import re
import resource
from collections import Counter
from contextlib import suppress
from pathlib import Path

# What no honest job has a use for: core dumps, locked memory, message queues, urgency.
NONE_OF = (
    resource.RLIMIT_CORE,
    *(
        getattr(resource, name)
        for name in ("RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO")
        if hasattr(resource, name)
    ),
)
# After the soft limit's signal, which a program may ignore, it is killed.
LAST_WORDS_S = 1
USER, THREADS = re.compile(rb"\nUid:\t(\d+)"), re.compile(rb"\nThreads:\t(\d+)")


def limit(kind: int, most: int, hard_most: int | None = None) -> None:
    """Lower both limits; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    allowed = _lower(hard_most or most, hard)
    resource.setrlimit(kind, (_lower(most, allowed), allowed))


def limit_cpu(seconds: int) -> None:
    limit(resource.RLIMIT_CPU, seconds, seconds + LAST_WORDS_S)


def _lower(wanted: int, held: int) -> int:
    return wanted if held == resource.RLIM_INFINITY else min(wanted, held)


def tasks_by_user() -> Counter[int]:
    """Processes and threads of every user: what RLIMIT_NPROC is compared with."""
    tasks: Counter[int] = Counter()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended since
                status = (entry / "status").read_bytes()
                tasks[_field(USER, status)] += _field(THREADS, status)
    return tasks


def _field(pattern: re.Pattern[bytes], status: bytes) -> int:
    found = pattern.search(status)
    return int(found[1]) if found else 0
