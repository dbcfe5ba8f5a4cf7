"""What one worker process has: its name, its stores, its warm spares. The only wiring place."""

import fcntl
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from app.blobs.store import BlobStore
from app.database.engine import Database
from app.database.migrate import upgrade
from app.jobs.leases import JobLeases
from app.jobs.presence import WorkerPresence
from app.jobs.queue import CeleryQueue, Queue
from app.jobs.store import JobStore
from app.settings import Settings
from app.uploads.store import UploadStore
from worker.box import Launcher
from worker.limits import Limits
from worker.spares import Spares


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Closing:
    """Once the worker is told to stop, a job has only the grace to finish; told twice, none."""

    grace_s: float
    ends_at: float | None = None

    def begin(self, *, at_once: bool = False) -> None:
        is_over = at_once or self.has_begun
        self.ends_at = time.monotonic() + (0.0 if is_over else self.grace_s)

    @property
    def has_begun(self) -> bool:
        return self.ends_at is not None

    @property
    def is_over(self) -> bool:
        return self.ends_at is not None and time.monotonic() >= self.ends_at


@dataclass(frozen=True)
class Workshop:
    """One worker process."""

    name: str
    settings: Settings
    clock: Callable[[], datetime]
    jobs: JobStore
    leases: JobLeases
    presence: WorkerPresence
    queue: Queue
    blobs: BlobStore
    uploads: UploadStore
    spares: Spares
    closing: Closing
    folder: Path
    lock: IO[str]

    def send(self, job_id: str) -> None:
        """Wake a worker for this job, and remember that it was done."""
        self.queue.send(job_id)
        self.jobs.mark_sent(job_id, self.clock())

    def close(self) -> None:
        self.spares.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()


def open_workshop(settings: Settings, launcher_of: Callable[[Limits, Path], Launcher]) -> Workshop:
    """Connect everything; `launcher_of` says what a child is (tests start a smaller one)."""
    database = Database(settings.resolved_database_url)
    upgrade(database)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    folder, lock = own_folder(settings.home / "work", name)
    launcher = launcher_of(Limits.from_settings(settings), folder)
    return Workshop(
        name=name,
        settings=settings,
        clock=utc_now,
        jobs=JobStore(database),
        leases=JobLeases(database),
        presence=WorkerPresence(database),
        queue=CeleryQueue(settings.resolved_broker_url),
        blobs=BlobStore(settings.resolved_blobs),
        uploads=UploadStore(database),
        spares=Spares(launcher, settings.worker_concurrency if settings.warm_spare else 0),
        closing=Closing(settings.shutdown_grace_s),
        folder=folder,
        lock=lock,
    )


def own_folder(root: Path, name: str) -> tuple[Path, IO[str]]:
    """A folder for this worker's jobs, locked while it lives."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    sweep_folders(root)
    lock = (root / f"{name}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = root / name
    folder.mkdir(mode=0o700)
    return folder, lock


def sweep_folders(root: Path) -> None:
    """Remove what dead workers left; a lock that can be had has lost its owner."""
    for lock_path in root.glob("*.lock"):
        with lock_path.open("a") as lock:
            if _try_lock(lock):
                shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
                lock_path.unlink(missing_ok=True)


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
