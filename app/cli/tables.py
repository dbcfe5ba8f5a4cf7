"""Tables for a person: before and after, jobs, layers."""

from collections.abc import Iterable

from rich.table import Table

from app.cli.output import printable
from app.jobs.views import JobView
from app.reports import figures
from app.reports.report import Delta, Measurement, Report

Row = tuple[str, str, str, str]

# A difference with a p-value of this or more is not told from chance.
CHANCE = 0.05


def before_after(report: Report) -> Table:
    """The two files side by side, and what changed."""
    table = Table(title="Before and after", title_justify="left")
    table.add_column("")
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    before, after = report.baseline, report.optimized
    rows = [
        ("file", _kind(before), _kind(after), ""),
        *_size_rows(before, after, report.delta),
        *_quality_rows(before, after, report.delta),
        *_latency_rows(before, after, report.delta),
        *_comparison_rows(report),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def circumstances(report: Report) -> str:
    """What the figures were measured on."""
    optimized, provenance = report.optimized, report.provenance
    kind = "test" if provenance.dataset_sha256 else "random"
    rows = f"{optimized.samples:,} {kind} rows, " if optimized.samples else ""
    threads = "1 thread" if optimized.threads == 1 else f"{optimized.threads} threads"
    return (
        f"Both files reloaded in fresh processes: {rows}batch {optimized.batch_size}, "
        f"{threads}, {optimized.latency_runs:,} interleaved runs, "
        f"{optimized.runtime}, {provenance.cpu}."
    )


def jobs_table(jobs: Iterable[JobView]) -> Table:
    table = Table()
    for heading in ("id", "name", "state", "verdict", "done", "created"):
        table.add_column(heading)
    for job in jobs:
        table.add_row(
            job.id,
            printable(job.name),
            job.state,
            job.verdict or "",
            figures.percent_text(job.progress, 0),
            f"{job.created_at:%Y-%m-%d %H:%M:%S}",
        )
    return table


def job_table(job: JobView) -> Table:
    table = Table(show_header=False)
    table.add_column("field")
    table.add_column("value", overflow="fold")
    rows = {
        "id": job.id,
        "name": job.name,
        "state": job.state + (" (cancellation requested)" if job.cancel_requested else ""),
        "phase": job.phase,
        "done": figures.percent_text(job.progress, 0),
        "place in the queue": job.queue_position,
        "seconds to go": job.eta_s,
        "verdict": job.verdict,
        "attempt": job.attempt,
        "model": job.model_id,
        "data set": job.dataset_id,
        "teacher": job.teacher_model_id,
        "student": job.student_model_id,
        "recipe": " -> ".join(step["technique"] for step in job.recipe["steps"]),
        "tags": ", ".join(f"{key}:{value}" for key, value in job.tags.items()),
        "retry of": job.retry_of,
        "created": f"{job.created_at:%Y-%m-%d %H:%M:%S}",
        "artifacts": "\n".join(f"{item.kind}  {item.id}" for item in job.artifacts),
    }
    for field, value in rows.items():
        if value not in (None, ""):
            table.add_row(field, printable(str(value)))
    return table


def _kind(measured: Measurement) -> str:
    return f"{measured.format} {measured.variant}"


def _size_rows(before: Measurement, after: Measurement, delta: Delta) -> list[Row]:
    return [
        (
            "file size",
            figures.bytes_text(before.size_bytes),
            figures.bytes_text(after.size_bytes),
            figures.smaller_text(delta.size_ratio),
        ),
        (
            "gzip size",
            figures.bytes_text(before.compressed_size_bytes),
            figures.bytes_text(after.compressed_size_bytes),
            figures.smaller_text(delta.compression_ratio),
        ),
        (
            "parameters",
            figures.count_text(before.parameter_count),
            figures.count_text(after.parameter_count),
            "",
        ),
        (
            "nonzero parameters",
            figures.count_text(before.nonzero_parameter_count),
            figures.count_text(after.nonzero_parameter_count),
            f"{figures.percent_text(_kept(before, after), 1)} left",
        ),
    ]


def _kept(before: Measurement, after: Measurement) -> float | None:
    if not before.nonzero_parameter_count:
        return None
    return after.nonzero_parameter_count / before.nonzero_parameter_count


def _quality_rows(before: Measurement, after: Measurement, delta: Delta) -> list[Row]:
    if after.accuracy is not None:
        return [
            (
                "accuracy",
                figures.percent_text(before.accuracy),
                figures.percent_text(after.accuracy),
                figures.points_text(delta.accuracy_drop),
            ),
            (
                "  95 % interval",
                figures.interval_text(before.accuracy_ci95),
                figures.interval_text(after.accuracy_ci95),
                "",
            ),
        ]
    if after.r2 is None:
        return []
    drop = delta.accuracy_drop
    change = figures.UNKNOWN if drop is None else figures.signed(-drop, 4)
    return [
        ("r2", figures.number_text(before.r2), figures.number_text(after.r2), change),
        ("mse", figures.number_text(before.mse), figures.number_text(after.mse), ""),
        ("mae", figures.number_text(before.mae), figures.number_text(after.mae), ""),
    ]


def _latency_rows(before: Measurement, after: Measurement, delta: Delta) -> list[Row]:
    return [
        (
            "latency p50",
            figures.latency_text(before.latency_ms_p50),
            figures.latency_text(after.latency_ms_p50),
            figures.faster_text(delta.speedup),
        ),
        (
            "latency p95",
            figures.latency_text(before.latency_ms_p95),
            figures.latency_text(after.latency_ms_p95),
            "",
        ),
    ]


def _comparison_rows(report: Report) -> list[Row]:
    rows: list[Row] = []
    if report.delta.agreement is not None:
        agreement = figures.percent_text(report.delta.agreement)
        rows.append(("same prediction", "", agreement, ""))
    if report.delta.p_value is not None:
        words = "more than chance" if report.delta.p_value < CHANCE else "may be chance"
        rows.append(("p-value (McNemar)", "", f"{report.delta.p_value:.3f}", words))
    control = report.control
    if control is not None:
        score = (
            figures.percent_text(control.accuracy)
            if control.accuracy is not None
            else figures.number_text(control.r2)
        )
        gain = None if control.accuracy_gain is None else -control.accuracy_gain
        name = f"original, trained as long ({control.epochs} epochs)"
        rows.append((name, score, "", figures.points_text(gain)))
    return rows
