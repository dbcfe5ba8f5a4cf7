"""What a job holds on disk is seen, and nothing in its folders can trap who looks."""

import os
from pathlib import Path

import pytest

from worker.disk import Disk
from worker.holding import DEEPEST, Held, nameless_files, use_of_folders
from worker.pace import Pace
from worker.usage import use_of_session

PAGE = 4096


def test_use_counts_bytes_on_disk_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x" * 10 * PAGE)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)

    use = use_of_folders([tmp_path], 10)

    assert use.files == 3
    assert 10 * PAGE <= use.bytes < 1 << 20


def test_use_follows_no_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * 10 * PAGE)
    (inside / "folder").symlink_to(outside)
    (inside / "again").symlink_to(inside)

    assert use_of_folders([inside], 10).files == 2


def test_use_stops_counting_beyond_what_was_asked_about(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).touch()

    assert use_of_folders([tmp_path], 10).files == 11


def test_folder_that_nests_too_deep_is_over_the_limit(tmp_path: Path) -> None:
    (tmp_path / "/".join("d" * (DEEPEST + 2))).mkdir(parents=True)

    assert use_of_folders([tmp_path], 1000).files == 1001


def test_folder_that_is_gone_counts_nothing(tmp_path: Path) -> None:
    assert use_of_folders([tmp_path / "gone"], 10).files == 0


def test_open_file_without_a_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = nameless_files([os.getpid()]).bytes
    with path.open("wb") as file:
        file.write(b"x" * 100 * PAGE)
        file.flush()
        path.unlink()

        assert nameless_files([os.getpid()]).bytes - before >= 100 * PAGE


def test_session_has_its_processes_their_threads_and_their_memory() -> None:
    use = use_of_session(os.getsid(0))

    assert os.getpid() in use.pids
    assert use.tasks >= len(use.pids)
    assert use.resident_bytes > 1 << 20


def test_pace_holds_back_what_is_beyond_its_burst() -> None:
    now = [0.0]
    pace = Pace(100, 200, clock=lambda: now[0])

    assert pace.spend(200) == 0
    assert pace.spend(50) == pytest.approx(0.5)
    now[0] += 10
    assert pace.spend(200) == 0
    assert pace.held_back_s == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("free", "goes"), [(1000, []), (300, ["large"]), (0, [])], ids=["enough", "few", "not ours"]
)
def test_job_that_holds_most_goes_where_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, goes: list[str]
) -> None:
    disk = Disk(tmp_path, reserve_bytes=500)
    monkeypatch.setattr(disk, "_free_bytes", lambda: free)
    held = {"large": 400, "small": 10, "ended": 9999}
    for name, count in held.items():
        disk.note(Path(name), Held(1, count))
    disk.forget(Path("ended"))

    assert [name for name in ("large", "small") if disk.has_to_go(Path(name))] == goes
