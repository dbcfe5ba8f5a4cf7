"""Memory that work adds, and work that does not survive; in processes that really end."""

import os
import signal
import subprocess
import sys

import pytest

# In processes of their own: the test process has threads, and a fork of it would be unsafe.
GROWTH = """
import numpy
from worker.engine.measuring.memory import growth_bytes_apart
print(growth_bytes_apart(lambda: numpy.ones(8_000_000)))
"""
TRANSIENT = """
import numpy
from worker.engine.measuring.fresh import go_on_in_a_fork
from worker.engine.measuring.memory import growth_bytes
go_on_in_a_fork()
print(growth_bytes(lambda: numpy.ones(8_000_000).sum()))
"""
CRASH = """
import os, signal
from worker.engine.measuring.memory import Died, growth_bytes_apart
try:
    growth_bytes_apart(lambda: os.kill(os.getpid(), signal.SIGSEGV))
except Died as died:
    print(died)
"""
ERROR = """
from worker.engine.measuring.memory import Died, growth_bytes_apart
try:
    growth_bytes_apart(lambda: [].pop())
except Died as died:
    print(died)
"""


def printed(program: str) -> str:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    return run.stdout.strip()


@pytest.mark.parametrize("program", [GROWTH, TRANSIENT])
def test_growth_is_the_peak_that_the_work_added(program: str) -> None:
    assert 62e6 < int(printed(program)) < 72e6


def test_growth_apart_names_the_signal_when_the_work_crashes() -> None:
    assert signal.SIGSEGV.name in printed(CRASH)


def test_growth_apart_passes_on_the_words_of_an_error() -> None:
    assert printed(ERROR) == "pop from empty list"
