"""A process that a job starts and can end, also where it may not send it a signal.

Before Linux 6.12 a job in its box can signal its first process alone. But the kernel kills a child
when the *thread* that started it ends, if the child asked for that (`app.processes`): so each is
started by a thread of its own, which does nothing else.
"""

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

# One that has not asked yet goes on until it reads the end of its standard input: it may first
# import TensorFlow. What is left then ends with the job.
ENDING_S = 60.0


class TiedProcess:
    """A program of ours that calls `die_with_parent` first; files are given as to `Popen`."""

    def __init__(self, command: Sequence[str], **given: Any) -> None:
        """Raises: OSError if the system starts no more of them."""
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")
        try:
            self.process = self._starter.submit(_started, command, given).result()
        except BaseException:
            self._starter.shutdown()
            raise

    def end(self) -> None:
        """Whether it still runs or not; its exit status is known afterwards."""
        with suppress(PermissionError):
            self.process.kill()
        self._starter.shutdown()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDING_S)


def _started(command: Sequence[str], given: dict[str, Any]) -> "subprocess.Popen[bytes]":
    # Without a buffer nothing is left to write where a dead one's pipe is closed.
    return subprocess.Popen(command, bufsize=0, **given)  # ours, no shell
