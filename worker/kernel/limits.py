"""Ceilings on what a process takes, by setrlimit, and how much of them is in use."""

import resource
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


def limit(kind: int, most: int, hard_most: int | None = None) -> None:
    """Lower both limits; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    allowed = _lower(hard_most or most, hard)
    resource.setrlimit(kind, (_lower(most, allowed), allowed))


def limit_cpu(seconds: int) -> None:
    limit(resource.RLIMIT_CPU, seconds, seconds + LAST_WORDS_S)


def _lower(wanted: int, held: int) -> int:
    return wanted if held == resource.RLIM_INFINITY else min(wanted, held)


def tasks_of(user: int) -> int:
    """Processes and threads of a user: what RLIMIT_NPROC is compared with."""
    entries = Path("/proc").iterdir()
    return sum(_threads_if_of(user, entry) for entry in entries if entry.name.isdigit())


def _threads_if_of(user: int, process: Path) -> int:
    with suppress(OSError):  # it has ended since
        status = (process / "status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        if int(fields["Uid"].split()[0]) == user:
            return int(fields["Threads"])
    return 0
