"""How attempts end: what a worker hands in, and what a reaper decides for one that is gone."""

from dataclasses import dataclass
from typing import Any

from app.accounts.quotas import storage_is_full
from app.errors import JobError, Problem, QueueTimeExceeded, WorkerLost
from app.jobs.job import Job, JobState
from app.reports.report import Verdict


class RunTimeUsedUp(JobError):
    code = "quota_run_seconds"
    title = "The tenant's jobs have run as long this month as they may"


@dataclass(frozen=True)
class Renewal:
    """What a worker learns when it renews: whether the job is still its own, and still wanted."""

    is_held: bool
    cancel_requested: bool


@dataclass(frozen=True)
class NewArtifact:
    """A file whose bytes are in the blob store, about to be committed."""

    kind: str
    format: str
    filename: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended for good."""

    state: JobState
    verdict: Verdict | None = None
    report: dict[str, Any] | None = None
    layers: list[dict[str, Any]] | None = None
    artifacts: tuple[NewArtifact, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True)
class Reaped:
    """Ids of the jobs that a reaper moved, and of the tenants that have one fewer running."""

    requeued: tuple[str, ...]
    ended: tuple[str, ...]
    relieved: frozenset[str]


def last_word(job: Job, max_attempts: int) -> Outcome | None:
    """How a job that lost its worker ends, or None where it is to be tried again."""
    if job.cancel_requested:
        return Outcome(JobState.CANCELLED)
    if job.attempt < max_attempts:
        return None
    lost = WorkerLost(
        f"{job.attempt} of {max_attempts} attempts ended with the worker gone",
        hint="Look at the worker's log and its memory; then retry the job.",
        stage=job.phase,
    )
    return Outcome(JobState.FAILED, problem=lost.as_problem())


def queued_too_long() -> Outcome:
    late = QueueTimeExceeded(
        "no worker took the job within limits.queue_s",
        hint="Start more workers, or give the job a longer limits.queue_s.",
        stage="queued",
    )
    return Outcome(JobState.TIMED_OUT, problem=late.as_problem())


def run_time_used_up() -> Outcome:
    used = RunTimeUsedUp(
        "the tenant's jobs had run as long this month as they may before this one began",
        hint="Retry it in the next month (UTC), or ask the operator for more.",
        stage="queued",
    )
    return Outcome(JobState.FAILED, problem=used.as_problem())


def storage_used_up() -> Outcome:
    full = storage_is_full("it was exceeded before this job began")
    return Outcome(JobState.FAILED, problem=full.at_stage("queued").as_problem())
