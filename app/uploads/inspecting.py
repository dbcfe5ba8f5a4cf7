"""Runs the inspector: one short-lived child process a file, with a wall clock around it."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from pydantic import ValidationError

from app.confinement import (
    CANNOT_CONFINE,
    Confinement,
    command,
    environment,
)
from app.errors import RejectedUpload, Unavailable
from app.recipes.facts import DatasetOptions
from app.uploads.archive import HARMLESS_BYTES, MAX_RATIO
from app.uploads.inspector.protocol import Inspection, InspectionOrder

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 32 * 2**20
MAX_COMPLAINT_BYTES = 4096
# What an honest file takes to be read is its size: by so much is it waited for longer.
SLOWEST_BYTES_PER_S = 32 * 2**20
# Mapped files and shared libraries count as address space, but are not memory taken.
MAPPED_BYTES = 8 * 2**30
OPEN_FILES, TASKS = 64, 16
NOWHERE = "/nonexistent"
VARIABLES = {
    # One thread is enough to read, and each one more takes address space.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # HDF5 looks for filters in this folder; there are none.
    "HDF5_PLUGIN_PATH": os.devnull,
    "LC_ALL": "C.UTF-8",
}


class CannotConfine(Unavailable):
    code = "cannot_confine"
    title = "This machine cannot confine what strangers send"
    retryable = False


# Whoever inspects takes it while a child runs; that of `AT_ONCE` is never waited for.
Turn = AbstractAsyncContextManager[None]
AT_ONCE: Turn = nullcontext()


class Inspects(Protocol):
    """Says what a file is, or why it is refused."""

    async def inspect(
        self, path: Path, file_format: str, options: DatasetOptions, turn: Turn = AT_ONCE
    ) -> Inspection: ...


class Uninspected:
    """Lets in whatever the door recognized, and knows nothing of it."""

    async def inspect(
        self, path: Path, file_format: str, options: DatasetOptions, turn: Turn = AT_ONCE
    ) -> Inspection:
        return Inspection()


@dataclass(frozen=True)
class Inspector:
    """How files are inspected: each by one process in a box that opens and starts nothing.

    It has the file, and room to unpack it: a nameless file in `scratch`, so nothing is ever left.
    `limit_s` is for a small file; each 32 MiB have a second more.
    """

    scratch: Path
    limit_s: float
    memory_bytes: int
    file_bytes: int
    allows_unconfined: bool = False

    async def inspect(
        self, path: Path, file_format: str, options: DatasetOptions, turn: Turn = AT_ONCE
    ) -> Inspection:
        """What the child says of a file. That it crashed or took too long is an answer too.

        Raises: Unavailable where no child can be started, CannotConfine where none can be confined,
            and whatever waiting for the turn raises.
        """
        # Opened at once: the file may get its final name while this waits for its turn.
        with path.open("rb") as file:
            async with turn:
                with self._room() as room:
                    order = InspectionOrder(format=file_format, options=options, room=room.fileno())
                    return await self._run(file, order)

    async def _run(self, file: BinaryIO, order: InspectionOrder) -> Inspection:
        size_bytes = os.fstat(file.fileno()).st_size
        limit_s = self.limit_s + size_bytes / SLOWEST_BYTES_PER_S
        child = await self._start(file, order, self._confinement(order, size_bytes, limit_s))
        return await self._finish(child, limit_s)

    async def _finish(self, child: asyncio.subprocess.Process, limit_s: float) -> Inspection:
        try:
            async with asyncio.timeout(limit_s):
                answer, complaint = await _outcome(child)
        except TimeoutError:
            return _refusal(
                f"reading the file took longer than {limit_s:.3g} s",
                hint="The file may be damaged, or too large to be checked here.",
            )
        finally:
            await _end(child)
        return _read_answer(child.returncode, answer, complaint)

    def _room(self) -> IO[bytes]:
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=self.scratch)
        except OSError as error:
            raise _not_started(error) from error

    async def _start(
        self, file: BinaryIO, order: InspectionOrder, confinement: Confinement
    ) -> asyncio.subprocess.Process:
        program = [sys.executable, "-m", "app.uploads.inspector", order.model_dump_json()]
        try:
            return await asyncio.create_subprocess_exec(
                *command(confinement, program, os.getpid()),
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd="/",
                env=environment(NOWHERE, VARIABLES),
                pass_fds=confinement.channels,
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(error) from error

    def _confinement(self, order: InspectionOrder, size_bytes: int, limit_s: float) -> Confinement:
        """The file itself is the standard input: no path of it is given."""
        return Confinement(
            memory_bytes=self.memory_bytes,
            address_bytes=self.memory_bytes + MAPPED_BYTES,
            cpu_s=int(limit_s) + 1,
            file_bytes=min(self.file_bytes, max(HARMLESS_BYTES, MAX_RATIO * size_bytes)),
            open_files=OPEN_FILES,
            tasks=TASKS,
            readable=(),
            writable=(),
            starts_processes=False,
            channels=(order.room,) if order.room is not None else (),
            is_optional=self.allows_unconfined,
        )


def _not_started(error: OSError) -> Unavailable:
    reason = os.strerror(error.errno) if error.errno else "unknown"
    return Unavailable(
        f"no process could be started to inspect the file: {reason}",
        hint="Try again in a few seconds.",
    )


async def _outcome(child: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """Answer and complaints, each up to its limit, once the process has ended."""
    answer, complaint = await asyncio.gather(
        _read_up_to(child.stdout, MAX_ANSWER_BYTES), _read_up_to(child.stderr, MAX_COMPLAINT_BYTES)
    )
    await child.wait()
    return answer, complaint


async def _read_up_to(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    received = bytearray()
    while stream and len(received) <= limit and (chunk := await stream.read(2**16)):
        received += chunk
    return bytes(received)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Nothing of the child's group outlives its inspection."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


def _read_answer(returncode: int | None, answer: bytes, complaint: bytes) -> Inspection:
    """The answer, if it is one; the complaints of a crash go to the log, never to the client."""
    if returncode == 0:
        with suppress(ValidationError):
            return Inspection.model_validate_json(answer)
    said = {"returncode": returncode, "complaint": complaint.decode("utf-8", "replace")}
    if returncode == CANNOT_CONFINE and not answer:
        log.error("inspection.not_confined", extra=said)
        raise CannotConfine(
            "files cannot be inspected: this machine cannot confine the process that reads them",
            hint="The log of the API and `penjing doctor` say what is missing.",
        )
    log.warning("inspection.crashed", extra=said)
    return _refusal(
        "the process that read the file died of it",
        hint="The file is damaged, or takes more memory to read than an upload may.",
    )


def _refusal(detail: str, *, hint: str) -> Inspection:
    return Inspection(problem=RejectedUpload(detail, hint=hint).as_problem())
