"""What one worker process has: its name, its stores, its warm spares. The only wiring place."""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.accounts.quotas import Quotas
from app.blobs.store import BlobStore
from app.database.engine import Database
from app.database.migrate import upgrade
from app.jobs.leases import JobLeases
from app.jobs.presence import Box, Standing, WorkerPresence
from app.jobs.queue import CeleryQueue, Queue
from app.jobs.store import JobStore
from app.settings import Settings
from app.uploads.store import UploadStore
from worker.cleaning import Cleaner
from worker.cores import shares_of_this_machine
from worker.disk import Disk
from worker.launching import Launcher
from worker.limits import Limits
from worker.locked_folder import own_folder
from worker.selftest import WHOSE, BoxReport, self_test
from worker.spares import Spares

log = logging.getLogger(__name__)

Examine = Callable[[Path, tuple[str, ...]], BoxReport]


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
    standing: Standing
    box: Box | None
    settings: Settings
    clock: Callable[[], datetime]
    jobs: JobStore
    leases: JobLeases
    presence: WorkerPresence
    queue: Queue
    blobs: BlobStore
    uploads: UploadStore
    spares: Spares
    disk: Disk
    clean: Cleaner
    closing: Closing
    folder: Path
    belongings: ExitStack

    def send(self, job_id: str) -> None:
        """Wake a worker for this job, and remember that it was done."""
        self.queue.send(job_id)
        self.jobs.mark_sent(job_id, self.clock())

    def close(self) -> None:
        """Give everything back; one thing that fails keeps none of the others."""
        self.belongings.close()


def open_workshop(
    settings: Settings,
    launcher_of: Callable[[Limits, Path], Launcher],
    examine: Examine = self_test,
) -> Workshop:
    """Connect everything; `launcher_of` says what a child is (tests start a smaller one).

    `examine` tries whether the box holds where the jobs will be, with what they all may read.
    """
    with ExitStack() as belongings:
        database = Database(settings.resolved_database_url)
        belongings.callback(database.close)
        upgrade(database)
        queue = belongings.enter_context(closing(CeleryQueue(settings.resolved_broker_url)))
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        folder = belongings.enter_context(own_folder(settings.home / "work", name))
        launcher = launcher_of(Limits.from_settings(settings), folder)
        shares = shares_of_this_machine(settings.worker_concurrency)
        report = examine(folder, launcher.readable)
        spares = Spares(launcher, shares, are_warm=settings.warm_spare)
        belongings.callback(spares.close)
        return Workshop(
            name=name,
            standing=standing_of(report, settings),
            box=box_of(report),
            settings=settings,
            clock=utc_now,
            jobs=JobStore(database),
            leases=JobLeases(database, Quotas.from_settings(settings)),
            presence=WorkerPresence(database),
            queue=queue,
            blobs=BlobStore(settings.resolved_blobs),
            uploads=UploadStore(database),
            spares=spares,
            clean=Cleaner(settings.home),
            disk=Disk(folder, settings.disk_reserve_bytes),
            closing=Closing(settings.shutdown_grace_s),
            folder=folder,
            belongings=belongings.pop_all(),
        )


def standing_of(box: BoxReport, settings: Settings) -> Standing:
    """Without a box no job is taken, unless the operator said so."""
    if box.holds:
        log.info("box.holds", extra={"how": box.in_words()})
        return Standing.CONFINED
    standing = Standing.UNCONFINED if settings.allow_unconfined else Standing.TAKES_NONE
    log.error("box.missing", extra={"why": box.in_words(), "jobs": standing})
    return standing


def box_of(box: BoxReport) -> Box | None:
    """What others are told of it."""
    return Box(box.landlock_abi, WHOSE[box.user], box.lacking) if box.holds else None
