"""What comes out of a job's folder, which a stranger's program has filled.

Nothing in it is trusted: no link is followed, no pipe waited for, nothing read without an end.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

from app.blobs.store import Blob, BlobStore
from app.errors import EngineFault
from app.jobs.outcomes import NewArtifact
from worker.disk_usage import on_disk
from worker.engine.order import OUTPUTS, RESULT, Artifact, Result
from worker.errors import ASK_FOR_LESS, OutputLimitExceeded
from worker.job_folder import JobFolder

# Reading it holds up all threads of the worker, and every view of the job carries it.
RESULT_LIMIT_BYTES = 4 << 20
MOST_ARTIFACTS = 32
MOST_DIGITS = 18
COPY_BYTES = 1 << 20
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FILENAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def read_result(folder: JobFolder) -> Result:
    """What the child left as its last word. It has to be dead.

    Raises: EngineFault, OutputLimitExceeded.
    """
    try:
        with plain_file(folder, PurePath(RESULT)) as file:
            said = file.read(RESULT_LIMIT_BYTES + 1)
        if len(said) > RESULT_LIMIT_BYTES:
            raise OutputLimitExceeded(
                f"the job's report has more than {RESULT_LIMIT_BYTES >> 20} MiB",
                hint="A model of fewer layers has a shorter one.",
            )
        # As it will be stored: NaN becomes null there, which not every figure may be.
        stored = Result.model_validate_json(said).model_dump_json()
        json.loads(stored, parse_int=_computable)
        return Result.model_validate_json(stored)
    except (OSError, ValueError) as error:
        raise EngineFault("the child said it was done, but left no readable result") from error


def _computable(digits: str) -> int:
    """Raises: ValueError for a number that who shows it could not even divide."""
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


@dataclass(frozen=True)
class Collector:
    """Puts what a dead child offers into the blob store.

    Attributes:
        most_bytes: of its files together, each as large as a copy of it is.
        reserve_bytes: stay free on the disk of the blobs.
        require_wanted: raises once nobody waits for it any more; asked before each MiB.
    """

    blobs: BlobStore
    folder: JobFolder
    most_bytes: int
    reserve_bytes: int
    require_wanted: Callable[[], None]

    def keep(self, result: Result) -> tuple[NewArtifact, ...]:
        """Every file of the result, for as long as it is wanted.

        Raises: EngineFault, OutputLimitExceeded; what the store and `require_wanted` raise.
        """
        if len(result.artifacts) > MOST_ARTIFACTS:
            raise OutputLimitExceeded(
                f"the job offers {len(result.artifacts)} files; {MOST_ARTIFACTS} are allowed",
                hint="A job offers one file of each kind that was asked for.",
            )
        kept: list[NewArtifact] = []
        for made in result.artifacts:
            left_bytes = self.most_bytes - sum(one.size_bytes for one in kept)
            kept.append(self._kept(made, left_bytes))
        return tuple(kept)

    def _kept(self, made: Artifact, most_bytes: int) -> NewArtifact:
        if not FILENAME.fullmatch(made.filename):
            raise EngineFault(f"the artifact {made.kind} has a name that no file should have")
        try:
            with plain_file(self.folder, made.path) as file:
                status = os.fstat(file.fileno())
                if status.st_size > most_bytes:
                    raise OutputLimitExceeded(
                        "the job's artifacts are larger than they may be, all together",
                        hint=ASK_FOR_LESS,
                    )
                self._require_no_holes(made, file, status)
                blob = self._copied(file, status.st_size)
        except OSError as error:
            raise EngineFault(
                f"the artifact {made.kind} is no plain file of the job's folder"
            ) from error
        return NewArtifact(
            kind=made.kind,
            format=made.format,
            filename=made.filename,
            size_bytes=blob.size_bytes,
            sha256=blob.sha256,
        )

    def _require_no_holes(self, made: Artifact, file: BinaryIO, status: os.stat_result) -> None:
        """A file of holes costs who made it nothing, and who copies it all that it is long.

        Compression makes a file small on disk, too; only holes were never written.
        """
        half = status.st_size // 2
        if on_disk(status) < half and self._bytes_in_holes(file.fileno(), status.st_size) > half:
            raise OutputLimitExceeded(
                f"the artifact {made.kind} has {status.st_size} bytes, and most of them are holes",
                hint="No export leaves such a file; something in the model does.",
            )

    def _bytes_in_holes(self, descriptor: int, size_bytes: int) -> int:
        at = in_holes = 0
        while at < size_bytes:
            self.require_wanted()
            hole = _sought(descriptor, at, os.SEEK_HOLE, size_bytes)
            at = _sought(descriptor, hole, os.SEEK_DATA, size_bytes)
            in_holes += at - hole
        os.lseek(descriptor, 0, os.SEEK_SET)
        return in_holes

    def _copied(self, file: BinaryIO, size_bytes: int) -> Blob:
        with self.blobs.writer(self.reserve_bytes) as writer:
            self.blobs.require_free(self.reserve_bytes, size_bytes)
            while chunk := file.read(COPY_BYTES):
                self.require_wanted()
                writer.write(chunk)
            return writer.commit()


def _sought(descriptor: int, at: int, what: int, otherwise: int) -> int:
    """Where the next hole or the next data begins; some file systems know of none."""
    try:
        return os.lseek(descriptor, at, what)
    except OSError:
        return otherwise


@contextmanager
def plain_file(folder: JobFolder, path: PurePath) -> Iterator[BinaryIO]:
    """A file of `out/`, opened folder by folder: no part of its path leads elsewhere.

    Raises: OSError where there is none.
    """
    if path.parts[:1] != (OUTPUTS,) or ".." in path.parts or "\0" in str(path):
        raise FileNotFoundError(f"not inside {OUTPUTS}/")
    place = os.open(folder.path, FOLDER)
    try:
        for name in path.parts[:-1]:
            inner = os.open(name, FOLDER, dir_fd=place)
            os.close(place)
            place = inner
        found = os.open(path.name, PLAIN, dir_fd=place)
    finally:
        os.close(place)
    with os.fdopen(found, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileNotFoundError("not a plain file")
        yield file
