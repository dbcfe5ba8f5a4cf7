"""What comes out of a job's folder, which a stranger's program has filled.

Nothing in it is trusted: no link is followed, no pipe waited for, nothing read without an end.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import BinaryIO

from app.blobs.store import Blob, BlobStore
from app.errors import EngineFault
from app.jobs.outcomes import NewArtifact
from worker.engine.order import OUTPUTS, RESULT, Artifact, Result
from worker.errors import OutputLimitExceeded
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


def keep_artifacts(
    blobs: BlobStore,
    folder: JobFolder,
    result: Result,
    most_bytes: int,
    require_wanted: Callable[[], None],
) -> tuple[NewArtifact, ...]:
    """Put every file of the result into the blob store, for as long as it is wanted.

    Raises: EngineFault, OutputLimitExceeded; what the store and `require_wanted` raise.
    """
    if len(result.artifacts) > MOST_ARTIFACTS:
        raise OutputLimitExceeded(
            f"the job offers {len(result.artifacts)} files; {MOST_ARTIFACTS} are allowed",
            hint="A job offers one file of each kind that was asked for.",
        )
    kept: list[NewArtifact] = []
    for made in result.artifacts:
        left = most_bytes - sum(one.size_bytes for one in kept)
        kept.append(_kept(blobs, folder, made, left, require_wanted))
    return tuple(kept)


def _kept(
    blobs: BlobStore,
    folder: JobFolder,
    made: Artifact,
    most_bytes: int,
    require_wanted: Callable[[], None],
) -> NewArtifact:
    if not FILENAME.fullmatch(made.filename):
        raise EngineFault(f"the artifact {made.kind} has a name that no file should have")
    try:
        with plain_file(folder, made.path) as file:
            if os.fstat(file.fileno()).st_size > most_bytes:
                raise OutputLimitExceeded(
                    "the job's artifacts are larger than they may be, all together",
                    hint="Ask for fewer outputs, or let the operator raise "
                    "PENJING_JOB_OUTPUT_BYTES.",
                )
            blob = _copied(blobs, file, require_wanted)
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


def _copied(blobs: BlobStore, file: BinaryIO, require_wanted: Callable[[], None]) -> Blob:
    with blobs.writer() as writer:
        while chunk := file.read(COPY_BYTES):
            require_wanted()
            writer.write(chunk)
        return writer.commit()


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
