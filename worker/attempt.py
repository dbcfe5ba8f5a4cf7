"""One attempt at a job, watched from its first event to its last."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import Cancelled, EngineFault, PenjingError, Problem, RunTimeExceeded
from app.jobs.job import Job
from app.jobs.request import JobRequest
from worker.checkpoints import checkpoint_folder
from worker.children import Child
from worker.collecting import read_result
from worker.engine.order import CANCEL, Event, Result
from worker.journal import Journal
from worker.lease import Hold
from worker.watch import Watch
from worker.workshop import Workshop

log = logging.getLogger(__name__)

# A process that closed its channel is about to end; one that is not never will.
EXIT_LIMIT_S = 5.0


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
    """A claimed job, with the hold on it, its history and the child that does it."""

    shop: Workshop
    job: Job
    hold: Hold
    journal: Journal
    child: Child


@contextmanager
def a_child(shop: Workshop, job: Job) -> Iterator[Child]:
    """A child with a folder of its own; nothing is left of either afterwards."""
    child, place = shop.spares.take()
    try:
        yield child
    finally:
        child.kill()
        if tail := child.log_tail().strip():
            log.info("child.output", extra={"job_id": job.id, "tail": tail})
        shop.disk.forget(child.folder.path)
        child.end()
        shop.spares.give_back(place)


def run_in_box(attempt: Attempt, guard: "Guard") -> Result:
    """Have the child do the work; it is dead when its result is read.

    Raises: Cancelled, RunTimeExceeded, LeaseLost, ShuttingDown, or what the child died of.
    """
    child, journal = attempt.child, attempt.journal
    try:
        _follow(attempt, guard)
        child.kill()
        return read_result(child.folder)
    except PenjingError as error:
        error.at_stage(journal.phase)
        raise


def _follow(attempt: Attempt, guard: "Guard") -> None:
    """From the child's first word to its last."""
    child, journal = attempt.child, attempt.journal
    while True:
        guard.check()
        events = child.read(attempt.shop.settings.poll_s)
        if events is None:
            _await_end(attempt, guard)
            raise child.cause_of_death(journal.phase)
        if any(event.event == "ready" for event in events):
            guard.let_go()
        journal.write(events)
        if last := _last_word(events):
            if last.problem is not None:
                raise _failure(attempt, last.problem)
            return


def _await_end(attempt: Attempt, guard: "Guard") -> None:
    """Give a silent child a moment to end by itself; it can still take what it may not."""
    deadline = time.monotonic() + EXIT_LIMIT_S
    guard.check()
    while not attempt.child.ends_within(attempt.shop.settings.poll_s):
        guard.check()
        if time.monotonic() > deadline:
            return


def _failure(attempt: Attempt, said: Problem) -> Exception:
    """What the child failed of, by its own word; cancelled it is only if that was asked for."""
    problem = attempt.shop.clean.problem(said)
    if problem.code == Cancelled.code and not attempt.hold.cancel_requested:
        return EngineFault("the child says that it was cancelled, and nobody asked for that")
    return ReportedFailure(problem, attempt.journal.phase)


def _last_word(events: list[Event]) -> Event | None:
    return next((event for event in events if event.event in ("done", "error")), None)


class Guard:
    """Everything that ends an attempt from outside the child."""

    def __init__(self, attempt: Attempt) -> None:
        self._shop = attempt.shop
        self._hold = attempt.hold
        self._child = attempt.child
        self._states = checkpoint_folder(attempt.shop, attempt.job.id)
        self._watch = Watch(attempt.child, self._states, attempt.shop.disk)
        self._limit_s = JobRequest.model_validate(attempt.job.request).limits.run_s
        self._quota_s = attempt.job.run_limit_s
        self._started_at = time.monotonic()
        self._cancelled_at: float | None = None
        self._is_gone = False

    def let_go(self) -> None:
        """Once: a child that knows what user it is can be given what was kept for it."""
        if not self._is_gone:
            self._is_gone = True
            self._child.folder.keep_states_at(self._states)
            self._child.go()

    def check(self) -> None:
        """While the child lives."""
        self._check_hold()
        self._check_cancel(time.monotonic())
        self._check_time()
        self._watch.check()

    def require_wanted(self) -> None:
        """While what a dead child left is collected: its time goes on, nothing can be tidied up."""
        self._check_hold()
        self._hold.require_wanted()
        self._check_time()

    def _check_hold(self) -> None:
        if self._hold.is_lost:
            raise LeaseLost
        if self._shop.closing.is_over:
            raise ShuttingDown

    def _check_time(self) -> None:
        ran_s = time.monotonic() - self._started_at
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
            (self._child.folder.path / CANCEL).touch()
        elif now - self._cancelled_at > self._shop.settings.cancel_grace_s:
            self._hold.require_wanted()
