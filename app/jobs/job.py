"""A job and the moves its state may make; pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.errors import IllegalTransition


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


class Verdict(StrEnum):
    """How a succeeded job turned out against its constraints."""

    MET = "met"
    TARGET_NOT_MET = "target_not_met"
    NO_IMPROVEMENT = "no_improvement"


@dataclass(frozen=True)
class Job:
    """One row of the jobs table. `request` is the body as it was accepted, defaults filled in."""

    id: str
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
    layers: list[dict[str, Any]] | None
    retry_of: str | None
    worker: str | None
    version: int
    created_at: datetime
    queued_at: datetime
    sent_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    lease_expires_at: datetime | None

    def require_move(self, to: JobState) -> None:
        """The one guard of illegal moves; the store applies the move atomically."""
        if to not in TRANSITIONS[self.state]:
            allowed = ", ".join(sorted(TRANSITIONS[self.state])) or "nothing, it is final"
            raise IllegalTransition(
                f"job {self.id} is {self.state}; it cannot become {to}. Allowed: {allowed}"
            )
