"""What a job holds on disk is seen, and nothing in its folders can trap who looks."""

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.confinement import IMPORT_ROOT
from worker.disk import Disk, SpaceTaken
from worker.disk_usage import DEEPEST, DiskUsage, as_copied, nameless_files, use_of_folders

PAGE = 4096
# Root as in a container by default: without CAP_SYS_PTRACE and CAP_SYS_ADMIN.
AS_IN_A_CONTAINER = """
import os, sys
from worker.kernel.calls import CAPABILITY_BOUNDING_DROP, prctl
for each in (19, 21, 40):
    prctl("prctl(PR_CAPBSET_DROP)", CAPABILITY_BOUNDING_DROP, each)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
LOOKING = """
import subprocess, tempfile
from worker.disk_usage import nameless_files
held = tempfile.TemporaryFile()
held.write(bytes(1 << 20))
held.flush()
other = subprocess.Popen(
    ["/bin/sleep", "60"], pass_fds=[held.fileno()], user=61000, group=61000, extra_groups=[]
)
held.close()
found = nameless_files([other.pid])
other.kill()
print(found.bytes >= 1 << 20, found.is_all)
"""


def test_use_counts_bytes_on_disk_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x" * 10 * PAGE)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)

    use = use_of_folders([tmp_path], 10)

    assert use.files == 3
    assert 10 * PAGE <= use.bytes < 1 << 20
    assert use_of_folders([tmp_path], 10, as_copied).bytes >= 1 << 40


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_root_of_a_container_sees_what_another_user_has_open() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", AS_IN_A_CONTAINER, LOOKING],
        env={"PYTHONPATH": str(IMPORT_ROOT)}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert asked.stdout.split() == ["True", "True"]


def test_mapped_file_without_a_name_is_found_or_said_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100 * PAGE)
    before = nameless_files([os.getpid()], with_mapped=True)
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    with path.open("rb") as file:
        mapped = ctypes.c_void_p(
            libc.mmap(
                None, ctypes.c_size_t(PAGE), mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0
            )
        )
    path.unlink()

    found = nameless_files([os.getpid()], with_mapped=True)

    libc.munmap(mapped, ctypes.c_size_t(PAGE))
    assert not found.is_all or found.bytes - before.bytes >= 100 * PAGE


def test_folder_that_is_never_where_it_was_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    scan = os.scandir

    def renaming(path: str) -> object:
        if path != str(tmp_path):
            Path(path).rename(tmp_path / "b")
        return scan(path)

    monkeypatch.setattr("os.scandir", renaming)

    assert use_of_folders([tmp_path], 10) == DiskUsage(
        1, use_of_folders([tmp_path], 10).bytes, False
    )


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Disk, list[int]]:
    """Of 10 000 bytes, with what is taken of them, to be set."""
    disk, taken = Disk(tmp_path, reserve_bytes=500), [0]
    monkeypatch.setattr(disk, "_free_bytes", lambda: 10_000 - taken[0])
    monkeypatch.setattr(disk, "_taken", lambda: SpaceTaken(taken[0], 0))
    return disk, taken


@pytest.mark.parametrize(
    ("taken", "goes"),
    [(9000, []), (9700, ["large"]), (10_000, [])],
    ids=["enough", "few", "not ours"],
)
def test_job_that_holds_most_goes_where_that_mends_it(
    disk: tuple[Disk, list[int]], taken: int, goes: list[str]
) -> None:
    for name, count in {"large": 400, "small": 10, "ended": 9999}.items():
        disk[0].note(Path(name), DiskUsage(0, count))
    disk[0].forget(Path("ended"))
    disk[1][0] = taken

    assert [name for name in ("large", "small") if disk[0].has_to_go(Path(name))] == goes


def test_job_that_cannot_be_seen_through_goes_for_what_nobody_holds(
    disk: tuple[Disk, list[int]],
) -> None:
    open_, hiding = Path("open"), Path("hiding")
    disk[0].note(open_, DiskUsage(0, 300))
    disk[0].note(hiding, DiskUsage(0, 10, is_all=False))
    disk[1][0] = 9800

    assert disk[0].has_to_go(hiding)
    assert not disk[0].has_to_go(open_)


def test_disk_says_what_it_lost_beside_what_jobs_hold(disk: tuple[Disk, list[int]]) -> None:
    one, other = Path("one"), Path("other")
    disk[1][0] = 1000  # before them, by others
    assert disk[0].note(one, DiskUsage(0, 0)).bytes == 0
    assert disk[0].note(other, DiskUsage(0, 0)).bytes == 0
    disk[1][0] = 1700
    disk[0].note(other, DiskUsage(0, 500))
    assert disk[0].note(one, DiskUsage(0, 100)).bytes == 100
    disk[0].clear(one)
    assert disk[0].note(one, DiskUsage(0, 100)).bytes == 0
    assert disk[0].note(other, DiskUsage(0, 500)).bytes == 100
    disk[1][0] = 1600  # the others have removed theirs: that is nobody's credit
    disk[0].note(one, DiskUsage(0, 100))
    disk[1][0] = 1650
    assert disk[0].note(one, DiskUsage(0, 100)).bytes == 50
