"""Starting the child process of a job in its box, all from one thread."""

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app import confinement
from app.confinement import Confinement
from app.processes import python_without_proc
from worker.children import Child
from worker.compiled_code import CompiledCode
from worker.cores import Cores
from worker.job_folder import JobFolder
from worker.limits import Limits, child_environment
from worker.sessions import Session

Enclose = Callable[[Confinement, Sequence[str], int], list[str]]


@dataclass(frozen=True)
class Launcher:
    """Starts children, all from one thread that lives as long as the worker.

    The kernel kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG). A program
    is given its channel and its folder as its last arguments; `enclose` puts it into the box.
    It may read what was `compiled` for it.
    """

    program: tuple[str, ...]
    limits: Limits
    home: Path
    thread: ThreadPoolExecutor
    enclose: Enclose = confinement.command
    compiled: CompiledCode | None = None

    @classmethod
    def of_engine(cls, limits: Limits, home: Path) -> Self:
        program = (*python_without_proc(), "-m", "worker.child")
        code = CompiledCode.kept_below(home.parent)
        return cls(program, limits, home, _one_thread(), compiled=code)

    @property
    def readable(self) -> tuple[str, ...]:
        """What all its children may read, beside Python's own."""
        return (*self.limits.readable, *([str(self.compiled.folder)] if self.compiled else []))

    def begin(self) -> None:
        """Have ready what its children only read."""
        if self.compiled:
            self.compiled.begin()

    def close(self) -> None:
        if self.compiled:
            self.compiled.close()

    def start(self, cores: Cores) -> Child:
        return self.thread.submit(self._start, cores).result()

    def _start(self, cores: Cores) -> Child:
        folder = JobFolder.made_in(self.home)
        reading, writing = os.pipe()
        try:
            process = self._boxed(folder, writing)
        except OSError:
            os.close(reading)
            folder.remove()
            raise
        finally:
            os.close(writing)
        if session := Session.of(process.pid):
            session.write(folder.session)
        with suppress(OSError):  # it died meanwhile; reading from it says so
            os.sched_setaffinity(process.pid, cores)
        return Child(process, reading, self.limits, folder)

    def _boxed(self, folder: JobFolder, channel: int) -> "subprocess.Popen[bytes]":
        program = (*self.program, str(channel), str(folder.path))
        rights = self.limits.confinement(folder, channel, self.readable)
        code = self.compiled.folder if self.compiled else None
        return subprocess.Popen(
            self.enclose(rights, program, os.getpid()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=(channel,),
            env=child_environment(folder.scratch, code),
            cwd=folder.scratch,
            start_new_session=True,
        )


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")
