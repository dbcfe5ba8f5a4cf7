"""What a job holds on disk, as far as it can be seen: names, open files, mapped files."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from worker.session_usage import PROCESSES, living_task, seen_by_its_user

BLOCK_BYTES = 512
# Nobody's folders nest so deep; what does is there to trap who looks.
DEEPEST = 64
# A job that has more open is not looked through to the end.
MOST_DESCRIPTORS = 20_000
# A line of /proc/<pid>/maps whose file has no name any more: where it is mapped, which file it is.
NAMELESS = re.compile(
    rb"^([0-9a-f]+-[0-9a-f]+) \S+ \S+ \S+ ([1-9]\d*) .* \(deleted\)$", re.MULTILINE
)


@dataclass(frozen=True)
class DiskUsage:
    """What was seen.

    Attributes:
        files: with folders; more than was asked about where they cannot be counted.
        bytes: on disk.
        is_all: whether nothing was in the way of looking.
    """

    files: int
    bytes: int
    is_all: bool = True


class Unseen(Exception):
    """Something is there, and cannot be looked at."""


def disk_usage_of(
    folders: Iterable[Path], pids: Iterable[int], most_files: int, *, with_mapped: bool = False
) -> DiskUsage:
    """What lies in the folders, and what the processes keep of files without a name.

    with_mapped: files that are mapped and no longer open, too; which takes longer.
    """
    named, nameless = use_of_folders(folders, most_files), nameless_files(pids, with_mapped)
    return DiskUsage(named.files, named.bytes + nameless.bytes, named.is_all and nameless.is_all)


def on_disk(status: os.stat_result) -> int:
    """Bytes that it takes there: none for holes."""
    return status.st_blocks * BLOCK_BYTES


def as_copied(status: os.stat_result) -> int:
    """Bytes that it takes, or that a copy of it would."""
    return max(status.st_size, on_disk(status))


def use_of_folders(
    folders: Iterable[Path],
    most_files: int,
    weight: Callable[[os.stat_result], int] = on_disk,
) -> DiskUsage:
    """What lies in them, links not followed; looks at no more than `most_files`.

    They are in use meanwhile: what is gone when it is looked at does not count, but a folder that
    is gone may be elsewhere by now.
    """
    files, held, is_all = 0, 0, True
    try:
        for status in _all_below(folders):
            if status is None:
                is_all = False
                continue
            files += 1
            held += weight(status)
            if files > most_files:
                break
    except OSError:
        # A folder that is closed to its owner, or lies too deep: no step makes one.
        return DiskUsage(most_files + 1, held)
    return DiskUsage(files, held, is_all)


def nameless_files(pids: Iterable[int], with_mapped: bool = False) -> DiskUsage:
    """What files hold that have no name any more but are open, or mapped."""
    seen: dict[tuple[int, int], int] = {}
    is_all = True
    for number, status in enumerate(_kept_by_all(pids, with_mapped)):
        if status is None or number == MOST_DESCRIPTORS:
            is_all = False
        elif stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            seen[status.st_dev, status.st_ino] = on_disk(status)
        if number == MOST_DESCRIPTORS:
            break
    return DiskUsage(len(seen), sum(seen.values()), is_all)


def _all_below(folders: Iterable[Path]) -> Iterator[os.stat_result | None]:
    """None stands for a folder that has another name by now.

    Raises: OSError where a folder cannot be looked into.
    """
    waiting = [(str(folder), 0) for folder in folders if folder.exists()]
    while waiting:
        path, depth = waiting.pop()
        if depth > DEEPEST:
            raise OSError("nested too deep")
        for entry, status in _entries(path):
            yield status
            if status and stat.S_ISDIR(status.st_mode):
                waiting.append((entry, depth + 1))


def _entries(path: str) -> Iterator[tuple[str, os.stat_result | None]]:
    try:
        entries = os.scandir(path)
    except (FileNotFoundError, NotADirectoryError):
        yield path, None
        return
    with entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.path, entry.stat(follow_symlinks=False)


def _kept_by_all(pids: Iterable[int], with_mapped: bool) -> Iterator[os.stat_result | None]:
    """None stands for what cannot be looked at."""
    for pid in pids:
        try:
            with seen_by_its_user(pid):
                kept = list(islice(_kept_by(pid, with_mapped), MOST_DESCRIPTORS))
        except (Unseen, PermissionError):
            yield None
        except OSError:
            continue  # it has ended since
        else:
            yield from kept


def _kept_by(pid: int, with_mapped: bool) -> Iterator[os.stat_result]:
    """Every open file of a process and, if asked for, every mapped one without a name.

    Raises: Unseen; PermissionError; another OSError where it has ended.
    """
    task = PROCESSES / living_task(pid)
    open_files = set()
    for descriptor in (task / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found = descriptor.stat()
            open_files.add(found.st_ino)
            yield found
    if not with_mapped:
        return
    for mapped in NAMELESS.finditer((task / "maps").read_bytes()):
        if int(mapped[2]) not in open_files:
            yield _mapped(pid, os.fsdecode(mapped[1]))


def _mapped(pid: int, where: str) -> os.stat_result:
    """Only some administrators may look at it (CAP_CHECKPOINT_RESTORE)."""
    try:
        return (PROCESSES / f"{pid}/map_files/{where}").stat()
    except OSError as error:
        raise Unseen from error
