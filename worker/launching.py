"""Starting the child process of a job, all from one thread."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from worker.children import Child
from worker.limits import Limits, child_environment


@dataclass(frozen=True)
class Launcher:
    """Starts children, all from one thread that lives as long as the worker.

    The kernel kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG).
    """

    command: tuple[str, ...]
    limits: Limits
    home: Path
    thread: ThreadPoolExecutor

    @classmethod
    def of_engine(cls, limits: Limits, home: Path) -> "Launcher":
        return cls((sys.executable, "-m", "worker.child"), limits, home, _one_thread())

    def start(self) -> Child:
        return self.thread.submit(self._start).result()

    def _start(self) -> Child:
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                [*self.command, str(writing), str(os.getpid()), json.dumps(self.limits.as_dict())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(writing,),
                env=child_environment(self.home),
                cwd=self.home,
                start_new_session=True,
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return Child(process, reading, self.limits)


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")
