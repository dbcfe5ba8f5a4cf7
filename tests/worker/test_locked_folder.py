"""The folder of a worker: swept when the worker is dead, and only then."""

import fcntl
from pathlib import Path
from typing import IO

import pytest

from worker.locked_folder import own_folder, sweep_folders


def test_sweep_leaves_the_folders_of_living_workers(tmp_path: Path) -> None:
    with own_folder(tmp_path, "living") as folder:
        sweep_folders(tmp_path)

        assert folder.is_dir()


def test_folder_keeps_its_lock_when_a_sweep_came_between_opening_and_locking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = fcntl.flock, list[bool]()

    def late(file: IO[str], operation: int) -> None:
        if operation == fcntl.LOCK_EX and not swept:
            swept.append(True)
            sweep_folders(tmp_path)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)

    with own_folder(tmp_path, "living") as folder:
        sweep_folders(tmp_path)

        assert swept
        assert folder.is_dir()
        # Without it, nobody would clear up after this worker.
        assert (tmp_path / "living.lock").exists()
