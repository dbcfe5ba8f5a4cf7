"""A job and the moves its state may make; pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.reports.report import Verdict


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


# running -> queued is a handed-back or lost attempt: the same job, one more try.
TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.CANCELLED, JobState.TIMED_OUT, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.TIMED_OUT,
            JobState.QUEUED,
        }
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.TIMED_OUT: frozenset(),
}


def sources_of(state: JobState) -> tuple[JobState, ...]:
    """The states that may become `state`: the condition of every statement that moves a job."""
    return tuple(source for source, targets in TRANSITIONS.items() if state in targets)


@dataclass(frozen=True)
class Job:
    """One row of the jobs table, but for its per-layer table, which is asked for by itself.

    `request` is the body as it was accepted, defaults filled in. `run_limit_s` is what was
    left of its tenant's run time when it was taken; null where that has no quota.
    """

    id: str
    tenant_id: str
    name: str
    state: JobState
    request: dict[str, Any]
    model_id: str
    dataset_id: str | None
    tags: dict[str, str]
    phase: str | None
    progress: float
    verdict: Verdict | None
    attempt: int
    fence: int
    cancel_requested: bool
    error: dict[str, Any] | None
    report: dict[str, Any] | None
    retry_of: str | None
    worker: str | None
    version: int
    created_at: datetime
    queued_at: datetime
    sent_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    lease_expires_at: datetime | None
    run_limit_s: float | None
