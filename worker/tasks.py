"""`optimize(job_id)`: claim a job, have it done in the box, commit what came out."""

import logging
import time
from dataclasses import dataclass

from app.errors import Cancelled, ChildCrashed, EngineFault, PenjingError, Problem, RunTimeExceeded
from app.jobs.job import Job, JobState
from app.jobs.outcomes import Outcome
from app.jobs.presence import Standing
from app.jobs.queue import TASK
from worker.attempt import (
    Attempt,
    Guard,
    LeaseLost,
    ReportedFailure,
    ShuttingDown,
    a_child,
    run_in_box,
)
from worker.celery_app import app, settings
from worker.checkpoints import forget_checkpoints
from worker.collecting import Collector
from worker.job_inputs import write_order
from worker.journal import UNREACHABLE, Journal
from worker.launching import Launcher
from worker.lease import Hold
from worker.shift import Shift
from worker.workshop import Workshop

log = logging.getLogger(__name__)

shift = Shift(settings, Launcher.of_engine)
shift.follow_signals()


@app.task(name=TASK)
def optimize(job_id: str) -> None:
    """The one task: a message is a job's id, everything else is in the database."""
    carry_out(shift.workshop, job_id)


@dataclass(frozen=True)
class HandBack:
    """The attempt ends, the job goes on: `counts` where it is one of `max_attempts`."""

    counts: bool


def carry_out(shop: Workshop, job_id: str) -> None:
    """Do the job whose turn it is, which need not be the one that the message names."""
    if shop.closing.has_begun or shop.standing is Standing.TAKES_NONE:
        return  # it stays queued: a reaper sends its id to somebody who stays
    job = shop.leases.take(shop.name, shop.clock(), shop.settings.lease_s)
    if job is None:
        return  # delivered twice, cancelled meanwhile, or its tenant has as many running as it may
    log.info("job.claimed", extra={"job_id": job.id, "attempt": job.attempt})
    with (
        Hold(shop.leases, job, shop.settings, shop.clock) as hold,
        Journal(shop, job) as journal,
    ):
        ending = attempt(shop, job, hold, journal)
        if ending is None or not conclude(shop, job, ending, hold, journal):
            log.warning("job.lost", extra={"job_id": job.id, "fence": job.fence})
    wake_next(shop, job)
    if not shop.closing.has_begun:
        shop.spares.refill()


def attempt(shop: Workshop, job: Job, hold: Hold, journal: Journal) -> Outcome | HandBack | None:
    """How it ended; None where the job is not ours any more. Every failure becomes data here."""
    try:
        with a_child(shop, job) as child:
            return succeed(Attempt(shop, job, hold, journal, child))
    except LeaseLost:
        return None
    except ShuttingDown:
        return HandBack(counts=False)
    except ChildCrashed as error:
        return again(shop, job, error.as_problem())
    except UNREACHABLE as error:
        log.warning("database.unreachable", extra={"job_id": job.id, "why": repr(error)})
        away = EngineFault(
            "the database did not say what the inputs are",
            hint="Retry the job when it answers.",
            stage="starting",
        )
        return again(shop, job, away.as_problem())
    except ReportedFailure as error:
        return failure(error.problem)
    except PenjingError as error:
        return failure(error.at_stage("running").as_problem())
    except Exception:
        log.exception("job.fault", extra={"job_id": job.id})
        fault = EngineFault("the worker hit an unexpected error", hint="Its log says more.")
        return failure(fault.as_problem())


def succeed(attempt: Attempt) -> Outcome:
    """The way of an attempt that goes well."""
    shop, child = attempt.shop, attempt.child
    write_order(shop, attempt.job, child.folder)
    guard = Guard(attempt)
    result = run_in_box(attempt, guard)
    collector = Collector(
        blobs=shop.blobs,
        folder=child.folder,
        most_bytes=child.limits.output_bytes,
        reserve_bytes=shop.settings.disk_reserve_bytes,
        require_wanted=guard.require_wanted,
    )
    return Outcome(
        state=JobState.SUCCEEDED,
        verdict=result.verdict,
        report=shop.clean.data(result.report.model_dump(mode="json")),
        layers=shop.clean.data([layer.model_dump(mode="json") for layer in result.layers]),
        artifacts=collector.keep(result),
    )


def again(shop: Workshop, job: Job, problem: Problem) -> Outcome | HandBack:
    """What need not come again costs one attempt, and fails the job when it was the last."""
    if job.attempt < shop.settings.max_attempts:
        return HandBack(counts=True)
    return failure(problem)


def failure(problem: Problem) -> Outcome:
    """The final state that fits a problem."""
    if problem.code == Cancelled.code:
        return Outcome(JobState.CANCELLED)
    if problem.code == RunTimeExceeded.code:
        return Outcome(JobState.TIMED_OUT, problem=problem)
    return Outcome(JobState.FAILED, problem=problem)


def conclude(
    shop: Workshop, job: Job, ending: Outcome | HandBack, hold: Hold, journal: Journal
) -> bool:
    """Write the ending down; False where the job was not ours any more and nothing was kept.

    A result that the database refuses would be refused again: then this is how the job ends. A
    job that could not be handed back is queued again by a reaper, when its lease has ended.
    """
    try:
        return insist(shop, job, ending, hold, journal)
    except Exception:
        log.exception("job.unstored", extra={"job_id": job.id})
        if isinstance(ending, HandBack):
            return False
    fault = EngineFault(
        "the result could not be stored", hint="The worker's log says why.", stage="storing"
    )
    return insist(shop, job, failure(fault.as_problem()), hold, journal)


def insist(
    shop: Workshop, job: Job, ending: Outcome | HandBack, hold: Hold, journal: Journal
) -> bool:
    """Hours of work are not thrown away for a database that restarts: it is asked again.

    Only a worker that has to stop gives up, when its lease would have ended.

    Raises: EngineFault where a file of the result is gone from the store.
    """
    started_at = time.monotonic()
    while True:
        try:
            hold_blobs(shop, ending)
            journal.close()
            return record_change(shop, job, ending)
        except UNREACHABLE as error:
            log.warning("database.unreachable", extra={"job_id": job.id, "why": repr(error)})
        is_late = time.monotonic() - started_at > shop.settings.lease_s
        if hold.is_lost or (is_late and shop.closing.is_over):
            return False
        time.sleep(shop.settings.heartbeat_s)


def hold_blobs(shop: Workshop, ending: Outcome | HandBack) -> None:
    """No row says yet that somebody owns them: old ones would be swept, while this waits."""
    made = ending.artifacts if isinstance(ending, Outcome) else ()
    gone = [one.filename for one in made if not shop.blobs.touch(one.sha256)]
    if gone:
        raise EngineFault(f"{', '.join(gone)} went from the blob store before the job had ended")


def record_change(shop: Workshop, job: Job, ending: Outcome | HandBack) -> bool:
    if isinstance(ending, HandBack):
        return hand_back(shop, job, ending)
    is_kept = shop.leases.commit(job.id, job.fence, ending, shop.clock())
    if is_kept:
        forget_checkpoints(shop, job.id)
        log.info("job.ended", extra={"job_id": job.id, "state": ending.state})
    return is_kept


def hand_back(shop: Workshop, job: Job, ending: HandBack) -> bool:
    """Queue the job again and wake a worker for it."""
    if not shop.leases.hand_back(job.id, job.fence, shop.clock(), counts=ending.counts):
        return False
    log.info("job.handed_back", extra={"job_id": job.id, "counts": ending.counts})
    wake(shop, job.id)
    return True


def wake_next(shop: Workshop, ended: Job) -> None:
    """The tenant has room for one more; the message of that one may have come when it had none."""
    try:
        job_id = shop.leases.held_back(ended.tenant_id, shop.clock())
    except UNREACHABLE as error:
        log.warning("database.unreachable", extra={"job_id": ended.id, "why": repr(error)})
    else:
        if job_id:
            wake(shop, job_id)


def wake(shop: Workshop, job_id: str) -> None:
    try:
        shop.send(job_id)
    except Exception as error:  # noqa: BLE001 - the row is queued; a reaper will send its id
        log.warning("queue.unreachable", extra={"job_id": job_id, "why": repr(error)})
