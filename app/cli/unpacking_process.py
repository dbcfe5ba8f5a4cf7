"""The process that unpacks a file: in the box where this machine has one, with limits anyhow."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.output import Output
from app.confinement import CANNOT_CONFINE, Confinement, command, environment
from app.errors import Invalid
from app.processes import python_without_proc

# A module of the engine, by its name: what is here imports neither it nor numpy.
MODULE = "worker.engine.coding"
PROGRAM = (*python_without_proc(), "-P", "-m", MODULE)
OPEN_FILES, TASKS = 256, 128
VARIABLES = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
ANSWER_BYTES = 64 * 2**10


@dataclass(frozen=True)
class Unpacking:
    """One file to unpack into an empty folder, and what that may take."""

    source: Path
    folder: Path
    memory_bytes: int
    limit_s: int

    @property
    def made(self) -> Path:
        return self.folder / "model.keras"

    def answer(self, output: Output) -> dict[str, Any]:
        """What the process says: a size, or a problem.

        Raises: Invalid where it says nothing.
        """
        program = [*PROGRAM, str(self.source), str(self.made), str(self.memory_bytes)]
        status, said = self._run(command(self._confinement(), program, os.getpid()))
        if status == CANNOT_CONFINE and not said:
            output.say(
                "Note: this machine cannot confine the process that unpacks (`penjing doctor` says "
                "why); it runs with limits on its memory and time alone."
            )
            status, said = self._run(program)
        lines = said.splitlines()
        if status != 0 or not lines:
            raise _ended(status)
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer

    def size_bytes(self) -> int:
        """Of what was made.

        Raises: Invalid unless it is a plain file.
        """
        found = self.made.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise Invalid(
                f"what was made of {self.source} is no plain file", hint="Do not trust it."
            )
        return found.st_size

    def _confinement(self) -> Confinement:
        return Confinement(
            memory_bytes=self.memory_bytes,
            cpu_s=self.limit_s * (os.cpu_count() or 1),
            file_bytes=self.memory_bytes,
            open_files=OPEN_FILES,
            tasks=TASKS,
            readable=(str(self.source),),
            writable=(str(self.folder),),
        )

    def _run(self, command: list[str]) -> tuple[int, str]:
        """Its status, and the end of what it said: to a file, which cannot outgrow the limit."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.DEVNULL,
                env=environment(self.folder, VARIABLES),
                cwd=self.folder,
                start_new_session=True,
            )
            try:
                status = process.wait(self.limit_s)
            except subprocess.TimeoutExpired as error:
                raise Invalid(
                    f"unpacking took longer than {self.limit_s} s, which is plenty for a file of "
                    "its size",
                    hint="It may be made to keep a machine busy: do not trust where it came from.",
                ) from error
            finally:
                _end(process)
            said.seek(max(0, said.seek(0, os.SEEK_END) - ANSWER_BYTES))
            return status, said.read().decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Nothing of its group outlives it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(status: int) -> Invalid:
    """What to make of a process that said nothing: only some ends have to do with memory."""
    if status >= 0:
        return Invalid(
            f"the process that unpacks ended with status {status} and said nothing",
            hint=f"See why with: {Path(sys.executable).name} -m {MODULE} FILE OUT MEMORY_BYTES",
        )
    name = signal.Signals(-status).name
    if -status in (signal.SIGKILL, signal.SIGABRT):
        return Invalid(
            f"the process that unpacks was ended by {name}",
            hint="The system may have run out of memory, or it needed more than --memory allows.",
        )
    return Invalid(
        f"the process that unpacks crashed ({name})",
        hint="That is a fault of Penjing, or of a file made to cause it: do not trust the file, "
        "and report it.",
    )
