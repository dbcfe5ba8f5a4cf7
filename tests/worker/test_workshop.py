"""What a worker has: opened whole, given back whole, and never taken for a dead one's."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from sqlalchemy.exc import OperationalError

from app.database.engine import Database
from app.jobs.presence import WorkerPresence
from app.jobs.queue import CeleryQueue
from app.settings import Settings
from tests.worker.conftest import launcher_of, without_a_box
from worker.shift import Shift
from worker.spares import Spares
from worker.workshop import own_folder, sweep_folders


@pytest.fixture
def shift(tmp_path: Path) -> Shift:
    settings = Settings(
        home=tmp_path, broker_url=f"redis+socket://{tmp_path}/nobody-listens", warm_spare=False
    )
    return Shift(settings, launcher_of(tmp_path / "child.py", without_a_box))


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """What was closed, in order."""
    noted: list[type] = []
    for kind in (Spares, CeleryQueue, Database):
        monkeypatch.setattr(kind, "close", noting(kind, kind.close, noted))
    return noted


def noting(kind: type, close: Callable[[Any], None], noted: list[type]) -> Callable[[Any], None]:
    def closing(thing: object) -> None:
        noted.append(kind)
        close(thing)

    return closing


def test_shift_gives_everything_back_when_it_was_never_begun(
    shift: Shift, closed: list[type]
) -> None:
    shift.open()

    shift.close()

    assert closed == [Spares, CeleryQueue, Database]
    assert not shift.workshop.folder.exists()


def test_shift_gives_everything_back_when_the_database_is_away(
    shift: Shift, closed: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("DELETE", {}, Exception("server closed the connection"))

    shift.open()
    monkeypatch.setattr(WorkerPresence, "leave", away)

    shift.close()

    assert closed == [Spares, CeleryQueue, Database]


def test_workshop_gives_everything_back_when_it_cannot_be_opened(
    shift: Shift, closed: list[type]
) -> None:
    (shift.settings.home / "work").write_text("no folder")

    with pytest.raises(FileExistsError):
        shift.open()
    shift.close()

    assert closed == [CeleryQueue, Database]


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
