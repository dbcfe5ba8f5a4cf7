"""What a hostile job leaves on disk goes, whatever it looks like."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.removal import remove_tree


def test_removal_takes_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    root = tmp_path / "job"
    root.mkdir()
    _dig(root, levels=1100)

    remove_tree(root)

    assert not root.exists()


def test_removal_takes_folders_that_are_closed_to_their_owner() -> None:
    with as_nobody() as home:
        inner = home / "job" / "closed" / "inner"
        inner.mkdir(parents=True)
        (inner / "file").touch(mode=0)
        for folder in (inner, inner.parent, inner.parent.parent):
            folder.chmod(0)

        remove_tree(home / "job")

        assert list(home.iterdir()) == []


def test_removal_takes_links_and_leaves_what_they_lead_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"mine")
    kept.chmod(0o755)
    root = tmp_path / "job"
    root.mkdir()
    (root / "folder").symlink_to(kept)
    (root / "file").symlink_to(kept / "file")
    os.mkfifo(root / "pipe")

    remove_tree(root)

    assert not root.exists()
    assert (kept / "file").read_bytes() == b"mine"
    assert kept.stat().st_mode & 0o777 == 0o755


def test_removal_of_nothing_is_none(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never")

    assert list(tmp_path.iterdir()) == []


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder of this process, which is root no more meanwhile: nothing is closed to root."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as home:
        if user == 0:
            os.chown(home, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(home)
        finally:
            os.seteuid(user)


def _dig(folder: Path, levels: int) -> None:
    """Nested folders of long names; a path to the last would have 220,000 characters."""
    name = "d" * 200
    held = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=held)
        inner = os.open(name, os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = inner
    os.close(held)
