"""Removes a folder that a stranger's program has filled: however deep, full or closed it is."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Take the folder and all below it away, as far as the system lets; links are not followed.

    Nobody may be writing there any more. Folders inside are brought up, side by side, before they
    are emptied: no path becomes too long and nothing nests, as it would in `shutil.rmtree`.
    """
    with suppress(OSError):
        path.chmod(0o700)
        root = os.open(path, FOLDER)
        try:
            _empty(root)
        finally:
            os.close(root)
        path.rmdir()


def _empty(root: int) -> None:
    waiting = _drop_files(root)
    while waiting:
        name = waiting.pop()
        with suppress(OSError):
            waiting += _brought_up(root, name)
            os.rmdir(name, dir_fd=root)


def _brought_up(root: int, name: str) -> list[str]:
    """The folders that were inside of one, under new names beside it."""
    inner = os.open(name, FOLDER, dir_fd=root)
    try:
        moved = []
        for folder in _drop_files(inner):
            new = secrets.token_hex(8)
            os.rename(folder, new, src_dir_fd=inner, dst_dir_fd=root)
            moved.append(new)
        return moved
    finally:
        os.close(inner)


def _drop_files(folder: int) -> list[str]:
    """Unlink what is no folder. Returns: names of the folders, which can be entered now."""
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    folders = [name for name, is_folder in found.items() if is_folder]
    for name in folders:
        # Closed to its owner, it could be neither entered nor moved.
        os.chmod(name, 0o700, dir_fd=folder)
    for name in found.keys() - folders:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
    return folders
