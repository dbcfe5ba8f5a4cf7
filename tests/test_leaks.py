"""What a test leaves open is told of it, and not of another."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAKS = """
import gc

def test_that_leaks():
    gc.disable()
    cycle = [open(__file__)]
    cycle.append(cycle)
"""
INNOCENT = """
import gc

def test_that_collects():
    gc.enable()
    gc.collect()
"""


def test_leak_is_an_error_of_the_file_that_leaked(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(LEAKS)
    (tmp_path / "test_b.py").write_text(INNOCENT)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-W", "error", "-rA", "-q"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run([*command, tmp_path], cwd=ROOT, env=alone, capture_output=True, text=True)
    told = [line for line in run.stdout.splitlines() if line.startswith(("ERROR", "FAILED"))]
    assert [line.partition("::")[2].split()[0] for line in told] == ["test_that_leaks"]
    assert "unclosed file" in run.stdout
