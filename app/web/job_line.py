"""One job in a table: its state in words, and what it changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.jobs.job import JobState
from app.jobs.views import ArtifactView, JobView
from app.reports.figures import (
    bytes_text,
    number_text,
    percent_text,
    points_text,
    signed,
    smaller_text,
)
from app.reports.report import Measurement, Verdict

# What a state or a verdict looks like, beside what it says.
LOOKS: Mapping[JobState | Verdict, str] = {
    JobState.RUNNING: "busy",
    JobState.FAILED: "bad",
    JobState.TIMED_OUT: "bad",
    JobState.SUCCEEDED: "good",
    Verdict.MET: "good",
    Verdict.TARGET_NOT_MET: "bad",
}
VERDICTS = {
    Verdict.MET: "targets met",
    Verdict.TARGET_NOT_MET: "target missed",
    Verdict.NO_IMPROVEMENT: "nothing gained",
}


@dataclass(frozen=True)
class Change:
    """A figure of the file before and of the one after."""

    what: str
    before: str
    after: str
    change: str


@dataclass(frozen=True)
class JobLine:
    """`percent` is null unless the job runs, `error` and `verdict` where it has none."""

    id: str
    name: str
    created_at: datetime
    state: str
    look: str
    percent: int | None
    note: str
    verdict: str | None
    verdict_look: str
    error: str | None
    changes: Sequence[Change]
    artifacts: Sequence[ArtifactView]

    @classmethod
    def of(cls, job: JobView) -> "JobLine":
        is_running = job.state is JobState.RUNNING
        return cls(
            id=job.id,
            name=job.name,
            created_at=job.created_at,
            state=job.state.replace("_", " "),
            look=LOOKS.get(job.state, "plain"),
            percent=round(100 * job.progress) if is_running else None,
            note=_note(job),
            verdict=_verdict(job),
            verdict_look=LOOKS.get(job.verdict, "plain") if job.verdict else "plain",
            error=f"{job.error.title} [{job.error.code}]" if job.error else None,
            changes=changes_of(job.report or {}),
            artifacts=job.artifacts,
        )


def _verdict(job: JobView) -> str | None:
    """Nobody met a target that was not set."""
    has_target = any(target is not None for target in job.constraints.model_dump().values())
    if job.verdict is Verdict.MET and not has_target:
        return "smaller or faster"
    return VERDICTS[job.verdict] if job.verdict else None


def _note(job: JobView) -> str:
    """What a job does that is not done."""
    if job.state is JobState.QUEUED:
        return f"number {job.queue_position} of yours" if job.queue_position else ""
    if job.state is not JobState.RUNNING:
        return ""
    return "is being cancelled" if job.cancel_requested else job.phase or ""


def changes_of(report: Mapping[str, Any]) -> list[Change]:
    """Accuracy and size; nothing where the report is one that cannot be read.

    It may be of an older version, or the numbers of a hostile job: none at all, or endless ones.
    """
    try:
        before, after = (
            Measurement.model_validate(report.get(name)) for name in ("baseline", "optimized")
        )
        return [
            *_quality(before, after),
            _sizes("size", before.size_bytes, after.size_bytes),
            _sizes("gzip", before.compressed_size_bytes, after.compressed_size_bytes),
        ]
    except (ValueError, ArithmeticError):
        return []


def _quality(before: Measurement, after: Measurement) -> list[Change]:
    if before.accuracy is not None and after.accuracy is not None:
        drop = points_text(before.accuracy - after.accuracy)
        shown = percent_text(before.accuracy), percent_text(after.accuracy)
        return [Change("accuracy", *shown, drop)]
    if before.r2 is not None and after.r2 is not None:
        gain = signed(after.r2 - before.r2, 4)
        return [Change("r2", number_text(before.r2), number_text(after.r2), gain)]
    return []


def _sizes(what: str, before: int, after: int) -> Change:
    return Change(what, bytes_text(before), bytes_text(after), smaller_text(before / after))
