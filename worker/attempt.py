"""One attempt at a job: its folder, its child, its events, its files."""

import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from app.blobs.store import BlobStore
from app.errors import (
    Cancelled,
    EngineFault,
    OutOfMemory,
    PenjingError,
    Problem,
    RunTimeExceeded,
)
from app.jobs.job import Job
from app.jobs.leases import NewArtifact
from app.jobs.request import JobRequest
from app.recipes.steps.base import ModelFormat
from app.uploads.formats import UploadKind
from worker.box import Child
from worker.engine.order import DatasetFile, Event, ModelFile, Order, Result
from worker.journal import Journal
from worker.lease import Hold
from worker.workshop import Workshop

log = logging.getLogger(__name__)

RESULT_LIMIT_BYTES = 64 << 20
MEMORY_LOOK_S = 1.0


class LeaseLost(Exception):
    """Another worker may have the job by now: nothing of this attempt may be kept."""


class ShuttingDown(Exception):
    """The worker has to stop before the job is done."""


@contextmanager
def job_folder(shop: Workshop, job: Job) -> Iterator[Path]:
    """The folder of this attempt, gone afterwards."""
    folder = shop.folder / f"{job.id}-{job.fence}"
    for part in ("in", "out", "scratch"):
        (folder / part).mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_order(shop: Workshop, job: Job, folder: Path) -> None:
    """Put the inputs and `order.json` into the folder."""
    request = JobRequest.model_validate(job.request)
    model = shop.uploads.get(request.model_id, UploadKind.MODEL)
    model_path = folder / "in" / f"model.{model.format}"
    _link(shop.blobs.path(model.sha256), model_path)
    order = Order(
        job_id=job.id,
        model=ModelFile(
            path=model_path,
            format=ModelFormat(model.format),
            name=model.name,
            sha256=model.sha256,
        ),
        dataset=_dataset_file(shop, request.dataset_id, folder),
        recipe=request.recipe,
        outputs=request.outputs,
        constraints=request.constraints,
        control=request.control,
    )
    (folder / "order.json").write_text(order.model_dump_json())


def _dataset_file(shop: Workshop, dataset_id: str | None, folder: Path) -> DatasetFile | None:
    if dataset_id is None:
        return None
    dataset = shop.uploads.get(dataset_id, UploadKind.DATASET)
    path = folder / "in" / f"dataset.{dataset.format}"
    _link(shop.blobs.path(dataset.sha256), path)
    return DatasetFile.model_validate(
        {
            "path": path,
            "format": dataset.format,
            "sha256": dataset.sha256,
            "options": dataset.options,
        }
    )


def _link(blob: Path, path: Path) -> None:
    # Keras goes by the suffix, and a blob has none. Across file systems a link is impossible.
    try:
        path.hardlink_to(blob)
    except OSError:
        shutil.copyfile(blob, path)


def run_in_box(shop: Workshop, job: Job, hold: Hold, folder: Path) -> Result:
    """Have a child do the work.

    Raises: Cancelled, RunTimeExceeded, LeaseLost, ShuttingDown, or what the child died of.
    """
    child = shop.spares.take()
    journal = Journal(shop, job)
    try:
        child.go(folder)
        _watch(shop, job, hold, folder, child, journal)
        return _read_result(folder)
    except PenjingError as error:
        error.at_stage(journal.phase)
        raise
    finally:
        child.kill()
        journal.close()
        if tail := child.log_tail().strip():
            log.info("child.output", extra={"job_id": job.id, "tail": tail})


def _watch(
    shop: Workshop, job: Job, hold: Hold, folder: Path, child: Child, journal: Journal
) -> None:
    """Follow the child until it says that it is done."""
    guard = Guard(shop, job, hold, folder, child)
    while True:
        guard.check()
        events = child.read(shop.settings.poll_s)
        if events is None:
            guard.check()
            raise child.cause_of_death(journal.phase)
        journal.write(events)
        if last := _last_word(events):
            if last.problem is not None:
                raise ReportedFailure(last.problem, journal.phase)
            return


def _last_word(events: list[Event]) -> Event | None:
    return next((event for event in events if event.event in ("done", "error")), None)


class ReportedFailure(Exception):
    """The child said itself what went wrong."""

    def __init__(self, problem: Problem, stage: str) -> None:
        super().__init__(problem.detail)
        self.problem = problem.model_copy(update={"stage": problem.stage or stage})


class Guard:
    """Everything that ends an attempt from outside the child."""

    def __init__(self, shop: Workshop, job: Job, hold: Hold, folder: Path, child: Child) -> None:
        self._shop = shop
        self._hold = hold
        self._child = child
        self._cancel_file = folder / "cancel"
        self._limit_s = JobRequest.model_validate(job.request).limits.run_s
        self._started_at = time.monotonic()
        self._cancelled_at: float | None = None
        self._looked_at = 0.0

    def check(self) -> None:
        now = time.monotonic()
        if self._hold.is_lost:
            raise LeaseLost
        if self._shop.closing.is_over:
            raise ShuttingDown
        self._check_cancel(now)
        if now - self._started_at > self._limit_s:
            raise RunTimeExceeded(
                f"the job ran longer than limits.run_s = {self._limit_s:g} s",
                hint="Give a longer limits.run_s, fewer epochs, or less data.",
            )
        if now - self._looked_at >= MEMORY_LOOK_S:
            self._looked_at = now
            self._check_memory()

    def _check_cancel(self, now: float) -> None:
        if not self._hold.cancel_requested:
            return
        if self._cancelled_at is None:
            self._cancelled_at = now
            self._cancel_file.touch()
        elif now - self._cancelled_at > self._shop.settings.cancel_grace_s:
            raise Cancelled("the job was cancelled while it ran")

    def _check_memory(self) -> None:
        limit = self._shop.settings.job_memory_bytes
        used = self._child.resident_bytes()
        if used > limit:
            raise OutOfMemory(
                f"the job holds {used >> 20} MiB of memory; {limit >> 20} MiB are allowed",
                hint="Give smaller batches or a smaller model.",
            )


def _read_result(folder: Path) -> Result:
    """What the child left, which is not trusted: no link is followed, no pipe is waited for."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with os.fdopen(os.open(folder / "result.json", flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise EngineFault("the child said it was done, but its result is no plain file")
            return Result.model_validate_json(file.read(RESULT_LIMIT_BYTES))
    except (OSError, ValidationError) as error:
        raise EngineFault("the child said it was done, but left no readable result") from error


def keep_artifacts(blobs: BlobStore, folder: Path, result: Result) -> tuple[NewArtifact, ...]:
    """Put every file of the result into the blob store."""
    kept = []
    for made in result.artifacts:
        path = folder / made.path
        inside = path.resolve().is_relative_to(folder.resolve() / "out")
        if not inside or not stat.S_ISREG(path.lstat().st_mode):
            raise EngineFault(f"the artifact {made.kind} is not a plain file of the job's folder")
        blob = blobs.put_file(path)
        kept.append(
            NewArtifact(
                kind=made.kind,
                format=made.format,
                filename=made.filename,
                size_bytes=blob.size_bytes,
                sha256=blob.sha256,
            )
        )
    return tuple(kept)
