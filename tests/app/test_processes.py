"""What a process asks of the kernel for itself, seen from outside."""

import os
import subprocess
import sys


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
