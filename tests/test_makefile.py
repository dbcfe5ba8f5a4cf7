"""The Makefile from any state of a folder; a stand-in for Python records what it is asked to do."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# As `-m venv` it makes a .venv with itself inside; anything else it writes down.
STAND_IN = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  "-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip install"*" -r "*) [ ! -f offline ] ;;
esac
"""


class Folder:
    """A fresh checkout as far as `make install` can see."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        shutil.copy(ROOT / "Makefile", path)
        for name in ("requirements.lock", "pyproject.toml"):
            (path / name).touch()
        self.python = path / "python"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.log.unlink(missing_ok=True)
        return subprocess.run(
            ["make", *arguments],
            cwd=self.path,
            env={"PATH": os.environ["PATH"], "LOG": str(self.log)},
            capture_output=True,
            text=True,
        )

    def install(self) -> list[str]:
        """What Python was asked for, beside being tried."""
        done = self.make("install", f"PYTHON={self.python}")
        assert done.returncode == 0, done.stderr
        calls = self.log.read_text().splitlines() if self.log.exists() else []
        return [call.split(" --")[0] for call in calls if call.startswith("-m")]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


ALL = ["-m venv", "-m pip install -q", "-m pip install -q"]


def test_install_makes_the_environment_when_there_is_none(folder: Folder) -> None:
    assert folder.install() == ALL


def test_install_does_nothing_when_it_is_done(folder: Folder) -> None:
    folder.install()
    assert folder.install() == []


def test_install_updates_in_place_when_the_lock_changed(folder: Folder) -> None:
    folder.install()
    stamp = folder.path / ".venv/.installed"
    os.utime(stamp, (0, 0))
    assert folder.install() == ALL[1:]


def test_install_starts_anew_when_the_environment_is_half_made(folder: Folder) -> None:
    (folder.path / ".venv/bin").mkdir(parents=True)
    assert folder.install() == ALL


def test_install_starts_anew_when_an_install_failed(folder: Folder) -> None:
    (folder.path / "offline").touch()
    assert folder.make("install", f"PYTHON={folder.python}").returncode != 0
    (folder.path / "offline").unlink()
    assert folder.install() == ALL


def test_install_starts_anew_when_the_folder_was_moved(folder: Folder) -> None:
    folder.install()
    moved = folder.path.with_name("moved")
    folder.path.rename(moved)
    again = Folder(moved)
    assert again.install() == ALL


def test_install_starts_anew_when_its_python_is_gone(folder: Folder) -> None:
    folder.install()
    (folder.path / ".venv/bin/python").unlink()
    assert folder.install() == ALL


def test_install_says_what_to_do_when_no_python_is_suitable(folder: Folder) -> None:
    refused = folder.make("install", "PYTHON=/bin/false")
    assert refused.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in refused.stderr
    assert "tried: /bin/false" in refused.stderr
    assert "make install PYTHON=" in refused.stderr
    assert not (folder.path / ".venv").exists()


def test_help_lists_every_command_and_is_what_make_does_alone(folder: Folder) -> None:
    declared = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^  make (\S+) ", folder.make().stdout, re.MULTILINE)
    assert listed == declared
    assert folder.make("help").stdout == folder.make().stdout
