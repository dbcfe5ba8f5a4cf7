"""What the box is told, and how it ends where it may not go on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.confinement import (
    CANNOT_CONFINE,
    IMPORT_ROOT,
    BoxOrder,
    Confinement,
    boxed,
    command,
    environment,
    libraries,
)

PROGRAM = [sys.executable, "-c", "print('reached')"]


def confinement(folder: Path, *, is_optional: bool = False) -> Confinement:
    return Confinement(
        memory_bytes=2**28,
        file_bytes=2**20,
        open_files=64,
        tasks=16,
        readable=(str(folder / "in"),),
        writable=(str(folder),),
        cpu_s=10,
        channels=(5,),
        is_optional=is_optional,
    )


def run(order: BoxOrder, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        boxed(order, PROGRAM),
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=30,
    )


def order(folder: Path, newest_abi: int | None = None, *, is_optional: bool = False) -> BoxOrder:
    # No channel is open here: whoever names one has it.
    wanted = confinement(folder, is_optional=is_optional)
    allowed = Confinement.from_json(wanted.as_json().replace("[5]", "[]"))
    return BoxOrder(allowed, os.getpid(), libraries(), newest_abi)


def test_order_survives_json(tmp_path: Path) -> None:
    given = BoxOrder(confinement(tmp_path), 1, ("/usr/lib",), newest_abi=3, has_filter=False)
    assert BoxOrder.from_json(given.as_json()) == given
    assert Confinement.from_json(given.confinement.as_json()) == given.confinement


def test_box_becomes_the_program(tmp_path: Path) -> None:
    ended = run(order(tmp_path), tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "reached\n", "")


def test_box_ends_in_one_line_where_a_step_does_not_hold(tmp_path: Path) -> None:
    ended = run(order(tmp_path, newest_abi=0), tmp_path)
    assert (ended.returncode, ended.stdout) == (CANNOT_CONFINE, "")
    (line,) = ended.stderr.splitlines()
    assert "this kernel has no Landlock" in json.loads(line)["cannot_confine"]


def test_box_goes_on_where_that_is_allowed(tmp_path: Path) -> None:
    ended = run(order(tmp_path, newest_abi=0, is_optional=True), tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "reached\n")


def test_box_ends_at_once_when_its_starter_is_gone(tmp_path: Path) -> None:
    gone = BoxOrder(order(tmp_path).confinement, 2**22 + 1, libraries())
    ended = run(gone, tmp_path)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGKILL, "")


def test_box_that_cannot_start_the_program_says_so(tmp_path: Path) -> None:
    start = command(order(tmp_path).confinement, [str(tmp_path / "missing")], os.getpid())
    ended = subprocess.run(
        start, env=environment(tmp_path), capture_output=True, text=True, start_new_session=True
    )
    assert ended.returncode == CANNOT_CONFINE
    assert "missing" in json.loads(ended.stderr)["cannot_confine"]


def test_environment_holds_nothing_of_the_starters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENJING_BROKER_URL", "redis://:secret@broker")
    monkeypatch.setenv("LANG", "C.UTF-8")
    given = environment("/folder", {"EXTRA": "1"})
    assert "secret" not in str(given)
    assert (given["LANG"], given["HOME"], given["EXTRA"]) == ("C.UTF-8", "/folder", "1")
    assert given["PYTHONPATH"] == str(IMPORT_ROOT)


def test_libraries_are_pythons_own_and_our_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", str(Path.cwd()), str(IMPORT_ROOT), "/tmp", *sys.path])
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    found = libraries()
    ours = {str(IMPORT_ROOT / "app"), str(IMPORT_ROOT / "worker")}
    assert ours < set(found)
    assert str(Path(os.__file__).parent) in found
    inside = (Path(sys.prefix), Path(sys.base_prefix))
    others = set(found) - ours
    assert all(any(prefix in Path(path).parents for prefix in inside) for path in others)


def test_sources_beneath_the_interpreters_prefix_are_no_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with Debian's Python and a checkout in /usr/src: its home may hold what tenants uploaded.
    monkeypatch.setattr(sys, "prefix", str(IMPORT_ROOT.parent))
    monkeypatch.setattr(sys, "path", [str(IMPORT_ROOT), *sys.path])
    assert str(IMPORT_ROOT) not in libraries()


def test_native_libraries_are_where_the_starter_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:relative:")
    assert str(tmp_path) in libraries()
    assert "relative" not in libraries()
