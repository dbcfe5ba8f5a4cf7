"""Content-addressed files in one folder: named by their sha256, stored once, whole or not at all.

root/ab/cdef...   a blob; folder and name are its digest
root/tmp/         files being written
root/lock         held shared while a blob is put in place, alone while one is removed

The API and the workers share one such folder.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from app.errors import StorageFull, StoreUnwritable

DIGEST = re.compile(r"[0-9a-f]{64}")
READ_ONLY = 0o444
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Blob:
    """What the bytes are called and how many they are."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Swept:
    """What a sweep removed."""

    temporary_files: int
    blobs: int
    freed_bytes: int


class BlobWriter:
    """One blob on its way in: bytes are hashed as they are written, `commit` gives them a name."""

    def __init__(
        self, store: "BlobStore", path: Path, file: BinaryIO, reserve_bytes: int = 0
    ) -> None:
        self._store = store
        self._reserve_bytes = reserve_bytes
        self._file = file
        self._hash = hashlib.sha256()
        self.path = path
        self.size_bytes = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append. Larger chunks are faster; the file is not buffered.

        Raises: StorageFull, StoreUnwritable.
        """
        rest = memoryview(chunk)
        self._hash.update(rest)
        self.size_bytes += len(rest)
        self._store.require_free(self._reserve_bytes, len(rest))
        with _store_errors():
            while rest:
                rest = rest[self._file.write(rest) :]

    def flush_to_disk(self) -> None:
        """Wait until the bytes would survive a power cut. `commit` does it too."""
        with _store_errors():
            os.fsync(self._file.fileno())

    def commit(self) -> Blob:
        """Put the bytes in their place, durably and in one step."""
        blob = Blob(self._hash.hexdigest(), self.size_bytes)
        self.flush_to_disk()
        self._store.publish(self.path, blob.sha256)
        return blob


class BlobStore:
    """Blobs in a folder that several processes share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"

    @contextmanager
    def writer(self, reserve_bytes: int = 0) -> Iterator[BlobWriter]:
        """Write one blob; whatever is not committed when the block ends is gone.

        `reserve_bytes`: what must stay free on the disk.
        Raises: StorageFull, StoreUnwritable.
        """
        path = self.temporary / uuid.uuid4().hex
        with _store_errors():
            self.temporary.mkdir(parents=True, exist_ok=True)
            self.require_free(reserve_bytes)
            file = path.open("xb", buffering=0)
        try:
            with file:
                yield BlobWriter(self, path, file, reserve_bytes)
        finally:
            # Where even this is refused, the sweep will get it; the first error matters more.
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def require_free(self, reserve_bytes: int, more_bytes: int = 0) -> None:
        """That the reserve, if there is one, is free beside what comes.

        Raises: StorageFull, StoreUnwritable.
        """
        if not reserve_bytes:
            return
        needed_bytes = reserve_bytes + more_bytes
        with _store_errors():
            free_bytes = shutil.disk_usage(self.temporary).free
        if free_bytes < needed_bytes:
            raise _full(f"{free_bytes} bytes are free, {needed_bytes} must be")

    def publish(self, temporary: Path, sha256: str) -> None:
        """Move a synced file of `root/tmp` to its name.

        A blob already there is replaced by its equal: that makes it young again, so a sweep that
        has not heard of its new owner yet leaves it alone. Nobody may write it any more: a job's
        child has a hard link to it.
        """
        target = self.path(sha256)
        with _store_errors(), self._lock(fcntl.LOCK_SH):
            is_new_folder = not target.parent.exists()
            target.parent.mkdir(exist_ok=True)
            temporary.chmod(temporary.stat().st_mode & READ_ONLY)
            os.utime(temporary)
            temporary.replace(target)
            _sync_folder(target.parent)
            if is_new_folder:
                _sync_folder(self.root)

    def touch(self, sha256: str) -> bool:
        """Make a blob young, so that a sweep leaves it alone; False where there is none."""
        with _store_errors(), self._lock(fcntl.LOCK_SH):
            try:
                os.utime(self.path(sha256))
            except FileNotFoundError:
                return False
        return True

    def path(self, sha256: str) -> Path:
        """Where a blob of this digest is, or would be."""
        if not DIGEST.fullmatch(sha256):
            raise ValueError(f"not a sha256 in lower-case hexadecimal: {sha256!r}")
        return self.root / sha256[:2] / sha256[2:]

    def sweep(self, referenced: Collection[str], now: datetime, max_age_s: float) -> Swept:
        """Remove what nobody owns: temporary files and blobs not `referenced`, if older than this.

        `max_age_s` must exceed the time from a commit to its row, and the longest pause of an
        upload.
        """
        oldest = now.timestamp() - max_age_s
        temporary = [_remove_if_older(path, oldest) for path in _children(self.temporary)]
        blobs = [
            self._remove_blob(path, oldest)
            for path in self._blob_paths()
            if path.parent.name + path.name not in referenced
        ]
        freed = [size for size in (*temporary, *blobs) if size is not None]
        return Swept(
            temporary_files=sum(size is not None for size in temporary),
            blobs=sum(size is not None for size in blobs),
            freed_bytes=sum(freed),
        )

    def _blob_paths(self) -> Iterator[Path]:
        for folder in _children(self.root):
            for path in _children(folder):
                if DIGEST.fullmatch(folder.name + path.name):
                    yield path

    def _remove_blob(self, path: Path, oldest: float) -> int | None:
        with self._lock(fcntl.LOCK_EX):
            return _remove_if_older(path, oldest)

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        with (self.root / "lock").open("ab") as file:
            fcntl.flock(file, kind)
            yield


@contextmanager
def _store_errors() -> Iterator[None]:
    """The operating system's refusals in the project's words, without its paths."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        if error.errno in NO_ROOM:
            raise _full(reason) from error
        raise StoreUnwritable(
            f"the blob store cannot be written: {reason}",
            hint="Its folder must exist and belong to the user that Penjing runs as.",
        ) from error


def _full(reason: str) -> StorageFull:
    return StorageFull(
        f"the blob store has no room left: {reason}",
        hint="Add space, or delete models and data sets that are no longer needed: their bytes are "
        "freed within half an hour.",
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove_if_older(path: Path, oldest: float) -> int | None:
    """The bytes freed, or None where it was too young or already gone."""
    try:
        status = path.stat()
        if status.st_mtime >= oldest:
            return None
        path.unlink()
    except FileNotFoundError:
        return None
    return status.st_size
