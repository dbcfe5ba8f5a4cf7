"""What a child and all it started use: of the machine's memory and processes, and of its disk."""

import os
import signal
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

PROCESSES = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BLOCK_BYTES = 512
# Fields of /proc/<pid>/stat behind the name, which may hold anything.
SESSION_AT, THREADS_AT, STARTED_AT, RESIDENT_AT = 3, 17, 19, 21
# Nobody's folders nest so deep; what does is there to trap who looks.
DEEPEST = 64
# A job that holds more open is not looked through to the end.
MOST_DESCRIPTORS = 10_000


@dataclass(frozen=True)
class SessionUse:
    """`tasks` are processes and threads."""

    pids: tuple[int, ...]
    tasks: int
    resident_bytes: int


@dataclass(frozen=True)
class FolderUse:
    """`files` counts folders, too; it is more than was asked about where not all could be seen."""

    files: int
    bytes: int


def use_of_session(leader: int) -> SessionUse:
    """All processes of the session that `leader` leads; in the box none can leave it."""
    pids, tasks, resident = [], 0, 0
    for pid in _processes():
        fields = _status_of(pid)
        if fields and int(fields[SESSION_AT]) == leader:
            pids.append(pid)
            tasks += int(fields[THREADS_AT])
            resident += int(fields[RESIDENT_AT]) * PAGE_BYTES
    return SessionUse(tuple(pids), tasks, resident)


def started_at(pid: int) -> int | None:
    """In ticks of the kernel since it was started; None where there is no such process."""
    fields = _status_of(pid)
    return int(fields[STARTED_AT]) if fields else None


def kill_session(leader: int) -> None:
    """End all of them.

    The first signal reaches a whole group at once, also those that are just being forked; only
    outside the box are there others.
    """
    _kill_group(leader)
    for pid in use_of_session(leader).pids:
        with suppress(ProcessLookupError):
            _kill_group(os.getpgid(pid))


def use_of_folders(folders: Iterable[Path], most_files: int) -> FolderUse:
    """What lies in them, links not followed; looks at no more than `most_files`.

    They are in use meanwhile: what is gone when it is looked at does not count.
    """
    files, held = 0, 0
    try:
        for status in _all_below(folders):
            files += 1
            held += status.st_blocks * BLOCK_BYTES
            if files > most_files:
                break
    except OSError:
        # A folder that is closed to its owner, or lies too deep: no step makes one.
        return FolderUse(most_files + 1, held)
    return FolderUse(files, held)


def unlinked_bytes(pids: Iterable[int]) -> int:
    """What files hold that have no name any more but are still open, as far as we may see that."""
    seen: dict[tuple[int, int], int] = {}
    for descriptor in islice(_descriptors(pids), MOST_DESCRIPTORS):
        with suppress(OSError):
            found = descriptor.stat()
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                seen[found.st_dev, found.st_ino] = found.st_blocks * BLOCK_BYTES
    return sum(seen.values())


def _all_below(folders: Iterable[Path]) -> Iterator[os.stat_result]:
    """Raises: OSError where a folder cannot be looked into."""
    waiting = [(str(folder), 0) for folder in folders]
    while waiting:
        path, depth = waiting.pop()
        if depth > DEEPEST:
            raise OSError("nested too deep")
        for entry, status in _entries(path):
            yield status
            if stat.S_ISDIR(status.st_mode):
                waiting.append((entry, depth + 1))


def _entries(path: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.path, entry.stat(follow_symlinks=False)


def _descriptors(pids: Iterable[int]) -> Iterator[Path]:
    for pid in pids:
        folder = PROCESSES / f"{pid}/fd"
        with suppress(OSError):
            yield from folder.iterdir()


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit())


def _status_of(pid: int) -> list[bytes] | None:
    try:
        return (PROCESSES / f"{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
