"""`python -m app.embedded HOME PARENT_PID [--reading]`: a stack that lives as long as its parent.

For reading, it has no worker. Once its parent is done or dead, nobody waits for what its worker
still does: the worker hands that back at once, for the next stack. One JSON line on stdout says
where it is ready, or what the problem is; news go to stderr.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from app.embedded.lock import RunningStack
from app.embedded.stack import Stack
from app.errors import PenjingError, Problem
from app.processes import die_with_parent

READING = "--reading"


def main() -> int:
    home, parent_pid, has_worker = Path(sys.argv[1]), int(sys.argv[2]), READING not in sys.argv[3:]
    die_with_parent(parent_pid, signal.SIGTERM)
    try:
        stack = Stack(home, host="127.0.0.1", port=0, has_worker=has_worker)
        stack.run({**os.environ, "PENJING_SHUTDOWN_GRACE_S": "0"}, say, answer)
    except PenjingError as error:
        answer(error.as_problem())
        return 1
    return 0


def say(news: str) -> None:
    _write(sys.stderr.fileno(), f"penjing: {news}\n")


def answer(message: RunningStack | Problem) -> None:
    _write(sys.stdout.fileno(), message.model_dump_json() + "\n")


def _write(descriptor: int, text: str) -> None:
    """Unbuffered; a parent that was interrupted no longer listens, and has asked for the end."""
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, text.encode())


if __name__ == "__main__":
    sys.exit(main())
