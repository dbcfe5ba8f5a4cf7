"""The folder of one worker's jobs, and the lock by which others see that the worker lives."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.confinement import PASSABLE, ensure_folder, make_folder
from worker.job_folder import JobFolder
from worker.removal import remove_tree
from worker.sessions import Session


@contextmanager
def own_folder(root: Path, name: str) -> Iterator[Path]:
    """A folder for this worker's jobs, locked while it lives and gone afterwards."""
    ensure_folder(root, PASSABLE)
    sweep_folders(root)
    folder = root / name
    with _own_lock(root / f"{name}.lock"):
        make_folder(folder, PASSABLE)
        try:
            yield folder
        finally:
            remove_tree(folder)


def sweep_folders(root: Path) -> None:
    """End and remove what dead workers left; a lock that can be had has lost its owner."""
    for lock_path in root.glob("*.lock"):
        with lock_path.open("a") as lock:
            if _try_lock(lock) and _is_at(lock_path, lock):
                folder = lock_path.with_suffix("")
                _end_sessions(folder)
                remove_tree(folder)
                lock_path.unlink(missing_ok=True)


def _end_sessions(folder: Path) -> None:
    for job in folder.glob("*"):
        if session := Session.read(JobFolder(job).session):
            session.end()


def _own_lock(path: Path) -> IO[str]:
    while True:
        lock = path.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_at(path, lock):
            return lock
        # A sweep of another worker had it in between, and took it for a dead one's.
        lock.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether the path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
