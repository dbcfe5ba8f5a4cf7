"""One attempt at a job, watched from its first event to its last."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from app.errors import Cancelled, OutOfMemory, PenjingError, Problem, RunTimeExceeded
from app.jobs.job import Job
from app.jobs.request import JobRequest
from worker.children import Child
from worker.engine.order import Event, Result
from worker.folder import read_result
from worker.journal import Journal
from worker.lease import Hold
from worker.workshop import Workshop

log = logging.getLogger(__name__)

MEMORY_LOOK_S = 1.0


class LeaseLost(Exception):
    """Another worker may have the job by now: nothing of this attempt may be kept."""


class ShuttingDown(Exception):
    """The worker has to stop before the job is done."""


class ReportedFailure(Exception):
    """The child said itself what went wrong."""

    def __init__(self, problem: Problem, stage: str) -> None:
        super().__init__(problem.detail)
        self.problem = problem.model_copy(update={"stage": problem.stage or stage})


@dataclass(frozen=True)
class Attempt:
    """A claimed job, with the hold on it, its history and its folder."""

    shop: Workshop
    job: Job
    hold: Hold
    journal: Journal
    folder: Path


def run_in_box(attempt: Attempt) -> Result:
    """Have a child do the work.

    Raises: Cancelled, RunTimeExceeded, LeaseLost, ShuttingDown, or what the child died of.
    """
    child = attempt.shop.spares.take()
    try:
        child.go(attempt.folder)
        _watch(attempt, child)
        return read_result(attempt.folder)
    except PenjingError as error:
        error.at_stage(attempt.journal.phase)
        raise
    finally:
        child.kill()
        if tail := child.log_tail().strip():
            log.info("child.output", extra={"job_id": attempt.job.id, "tail": tail})


def _watch(attempt: Attempt, child: Child) -> None:
    """Follow the child until it says that it is done."""
    guard, journal = Guard(attempt, child), attempt.journal
    while True:
        guard.check()
        events = child.read(attempt.shop.settings.poll_s)
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


class Guard:
    """Everything that ends an attempt from outside the child."""

    def __init__(self, attempt: Attempt, child: Child) -> None:
        self._shop = attempt.shop
        self._hold = attempt.hold
        self._child = child
        self._cancel_file = attempt.folder / "cancel"
        self._limit_s = JobRequest.model_validate(attempt.job.request).limits.run_s
        self._quota_s = attempt.job.run_limit_s
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
        self._check_time(now - self._started_at)
        if now - self._looked_at >= MEMORY_LOOK_S:
            self._looked_at = now
            self._check_memory()

    def _check_time(self, ran_s: float) -> None:
        if ran_s > self._limit_s:
            raise RunTimeExceeded(
                f"the job ran longer than limits.run_s = {self._limit_s:g} s",
                hint="Give a longer limits.run_s, fewer epochs, or less data.",
            )
        if self._quota_s is not None and ran_s > self._quota_s:
            raise RunTimeExceeded(
                f"the job ran for the {self._quota_s:g} s that were left of its tenant's month",
                hint="Retry it in the next month (UTC), or ask the operator for more.",
            )

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
