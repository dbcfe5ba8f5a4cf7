"""Limits a process sets on itself before it reads what a stranger sent; standard library only."""

import resource
import signal

from app.processes import die_with_parent, gain_no_privileges

# Mapped files and shared libraries count as address space, but are not memory taken.
MAPPED_BYTES = 8 * 2**30


def confine(*, memory_bytes: int, cpu_s: int, file_bytes: int, parent: int) -> None:
    """Take rights away from this process, for good.

    Args:
        memory_bytes: private memory; more is a MemoryError.
        cpu_s: processor time; more is SIGXCPU.
        file_bytes: largest file it may write.
        parent: process id of the starter; if it is gone already, so is this process.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CPU, cpu_s)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_DATA, memory_bytes)
    _limit(resource.RLIMIT_AS, memory_bytes + MAPPED_BYTES)
    die_with_parent(parent, signal.SIGKILL)
    gain_no_privileges()


def _limit(kind: int, most: int) -> None:
    """Lower both limits, or as far as the hard limit lets."""
    _, hard = resource.getrlimit(kind)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, allowed))
