"""What a child and all it started use of the machine's memory and processes."""

import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

PROCESSES = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/<pid>/stat behind the name, which may hold anything.
STATE_AT, GROUP_AT, SESSION_AT, THREADS_AT, STARTED_AT, RESIDENT_AT = 0, 2, 3, 17, 19, 21
# Page tables, which no limit of the kernel counts.
TABLES = re.compile(rb"\nVmPTE:\s*(\d+) kB")
# A process's share of what it has in memory with others.
SHARE = re.compile(rb"\nPss:\s*(\d+) kB")
# What the kernel keeps of any process beside them: stacks, maps, pipes, open files.
PROCESS_BYTES = 1 << 20
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
STOPPED, ENDED = b"Tt", b"ZX"
STOPPING_S, POLL_S = 0.5, 0.002
# The kernel goes through all pages of a process to tell its share.
SHARING_S = 2.0


@dataclass(frozen=True)
class SessionUse:
    """`tasks` are processes and threads; `kernel_bytes` is what the kernel keeps for them."""

    pids: tuple[int, ...]
    groups: frozenset[int]
    tasks: int
    resident_bytes: int
    kernel_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        return self.resident_bytes + self.kernel_bytes


def use_of_session(leader: int) -> SessionUse:
    """All processes of the session that `leader` leads; in the box none can leave it."""
    pids, groups, tasks, resident, kept = [], set(), 0, 0, 0
    for pid in _processes():
        fields = _status_of(f"{pid}")
        if not fields or int(fields[SESSION_AT]) != leader:
            continue
        pids.append(pid)
        groups.add(int(fields[GROUP_AT]))
        tasks += int(fields[THREADS_AT])
        task = living_task(pid)
        resident += int((_status_of(task) or fields)[RESIDENT_AT]) * PAGE_BYTES
        kept += PROCESS_BYTES + _table_bytes(task)
    return SessionUse(tuple(pids), frozenset(groups), tasks, resident, kept)


def shared_once(use: SessionUse) -> SessionUse:
    """The same with what processes have in common counted once: forks share what neither wrote.

    It takes its time, and no more than SHARING_S: of the others all that is resident counts.
    """
    deadline = time.monotonic() + SHARING_S
    resident = 0
    for pid in use.pids:
        task = living_task(pid)
        share = _share_bytes(pid, task) if time.monotonic() < deadline else None
        if share is None:
            share = _resident_bytes(task)
        resident += share
    return replace(use, resident_bytes=min(resident, use.resident_bytes))


def living_task(pid: int) -> str:
    """Where in /proc it is to be seen: a first thread that has ended shows nothing."""
    fields = _status_of(f"{pid}")
    if not fields or fields[STATE_AT] not in ENDED or int(fields[THREADS_AT]) < 2:
        return f"{pid}"
    with suppress(OSError):
        for entry in (PROCESSES / f"{pid}/task").iterdir():
            task = f"{pid}/task/{entry.name}"
            found = _status_of(task)
            if found and found[STATE_AT] not in ENDED:
                return task
    return f"{pid}"


@contextmanager
def held_still(leader: int) -> Iterator[None]:
    """While it lasts, nothing in the session moves: what is looked at stays where it is.

    One that is in the middle of a long write stops behind it; nobody waits for that for long.
    """
    _signal_group(leader, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + STOPPING_S
        while not _is_still(leader) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        yield
    finally:
        _signal_group(leader, signal.SIGCONT)


@contextmanager
def seen_by_its_user(pid: int) -> Iterator[None]:
    """Root without CAP_SYS_PTRACE looks, by this thread, as the user whose process it is."""
    user = (PROCESSES / str(pid)).stat().st_uid
    if _LIBC is None or os.geteuid() != 0 or user == 0:
        yield
        return
    own_group = os.getegid()
    _LIBC.setfsgid(user)
    _LIBC.setfsuid(user)
    try:
        yield
    finally:
        _LIBC.setfsuid(0)
        _LIBC.setfsgid(own_group)


def started_at(pid: int) -> int | None:
    """In ticks of the kernel since it was started; None where there is no such process."""
    fields = _status_of(f"{pid}")
    return int(fields[STARTED_AT]) if fields else None


def kill_session(leader: int) -> None:
    """End all of them.

    The first signal reaches a whole group at once, also those that are just being forked; only
    outside the box are there others.
    """
    _signal_group(leader, signal.SIGKILL)
    for group in use_of_session(leader).groups:
        _signal_group(group, signal.SIGKILL)


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit())


def _status_of(process: str) -> list[bytes] | None:
    try:
        return (PROCESSES / process / "stat").read_bytes().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None


def _resident_bytes(process: str) -> int:
    fields = _status_of(process)
    return int(fields[RESIDENT_AT]) * PAGE_BYTES if fields else 0


def _share_bytes(pid: int, task: str) -> int | None:
    """None where it cannot be told."""
    try:
        with seen_by_its_user(pid):
            found = SHARE.search((PROCESSES / task / "smaps_rollup").read_bytes())
    except OSError:
        return None
    return int(found[1]) << 10 if found else None


def _table_bytes(process: str) -> int:
    try:
        found = TABLES.search((PROCESSES / process / "status").read_bytes())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


def _is_still(leader: int) -> bool:
    for pid in use_of_session(leader).pids:
        fields = _status_of(living_task(pid))
        if fields and fields[STATE_AT] not in STOPPED + ENDED:
            return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
