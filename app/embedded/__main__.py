"""`python -m app.embedded HOME PARENT_PID`: a stack that lives as long as its parent.

One JSON line on stdout says where it is ready, or what the problem is; news go to stderr.
"""

import os
import signal
import sys
from pathlib import Path

from app.embedded.lock import RunningStack
from app.embedded.stack import Stack
from app.errors import PenjingError, Problem
from app.processes import die_with_parent


def main() -> int:
    home, parent_pid = Path(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent_pid, signal.SIGTERM)
    try:
        Stack(home, host="127.0.0.1", port=0).run(os.environ, say, answer)
    except PenjingError as error:
        answer(error.as_problem())
        return 1
    return 0


def say(news: str) -> None:
    sys.stderr.write(f"penjing: {news}\n")


def answer(message: RunningStack | Problem) -> None:
    sys.stdout.write(message.model_dump_json() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
