"""What a process asks of the kernel for itself, seen from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.processes import loader_of, python_without_proc


def run(statement: str) -> "subprocess.CompletedProcess[str]":
    program = f"import os, signal; from app.processes import *; {statement}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_process_lives_on_when_its_parent_is_there() -> None:
    assert run(f"die_with_parent({os.getpid()}, signal.SIGKILL)").returncode == 0


def test_process_ends_when_its_parent_was_gone_before_it_asked() -> None:
    assert run("die_with_parent(1 << 30, signal.SIGKILL)").returncode == 128 + 9


def test_process_gains_no_privileges_when_it_gave_them_up() -> None:
    ended = run("gain_no_privileges(); print(open('/proc/self/status').read())")

    assert "NoNewPrivs:\t1" in ended.stdout


def test_program_is_no_python_to_the_kernel_and_the_same_to_itself() -> None:
    program = (
        "import json, os, sys; "
        "print(json.dumps([os.readlink('/proc/self/exe'), sys.executable, sys.prefix, sys.argv]))"
    )
    ended = subprocess.run(
        [*python_without_proc(), "-c", program, "told"], capture_output=True, text=True, check=True
    )

    started, executable, prefix, arguments = json.loads(ended.stdout)
    assert Path(started).samefile(str(loader_of(sys.executable)))
    assert [executable, prefix, arguments] == [sys.executable, sys.prefix, ["-c", "told"]]


def test_older_c_library_is_told_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.processes.NAMES_PROGRAMS", (99, 0))

    command = python_without_proc()

    assert command == (loader_of(sys.executable), sys.executable)
    assert subprocess.run([*command, "-c", ""]).returncode == 0


def test_program_without_a_loader_names_none(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")

    assert loader_of(str(script)) is None
