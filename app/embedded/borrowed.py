"""A stack for the length of a command: the one that runs on this home, else one started for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from app.client.credentials import without_key
from app.embedded.errors import HomeInUse, StackNotStarted
from app.embedded.lock import RunningStack, running_stack
from app.errors import Malformed, PenjingError, Problem

REFUSALS: dict[str, type[PenjingError]] = {kind.code: kind for kind in (HomeInUse, Malformed)}
ANSWER: TypeAdapter[RunningStack | Problem] = TypeAdapter(RunningStack | Problem)


@contextmanager
def borrowed_stack(home: Path, *, is_reading: bool) -> Iterator[RunningStack]:
    """Where the API of this home answers. A stack that was started here is stopped at the end.

    For reading, one that is started here has no worker, and begins none of the home's jobs.

    Raises: StackNotStarted, HomeInUse; Malformed if a setting is.
    """
    running = running_stack(home)
    if running is not None:
        yield running
        return
    with _own_process(home, is_reading=is_reading) as process:
        yield _read_ready(process)


@contextmanager
def _own_process(home: Path, *, is_reading: bool) -> Iterator[subprocess.Popen[str]]:
    """The supervisor as a child, in a session of its own: a Ctrl-C here does not reach it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "app.embedded", str(home), str(os.getpid())),
            *(["--reading"] if is_reading else []),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=without_key(os.environ),
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def _read_ready(process: subprocess.Popen[str]) -> RunningStack:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise StackNotStarted("the supervisor ended before the stack was ready")
    answer = ANSWER.validate_json(line)
    if isinstance(answer, RunningStack):
        return answer
    raise REFUSALS.get(answer.code, StackNotStarted)(answer.detail, hint=answer.hint)
