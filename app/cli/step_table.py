"""What each step of a recipe did, for a person: one row a step."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.table import Table

from app.cli import figures
from app.reports.report import Report, StepReport

T = TypeVar("T", int, float)


def steps_table(report: Report) -> Table | None:
    """The steps that changed the model; None where there are none to tell of."""
    told = [
        (number, step)
        for number, step in enumerate(report.steps, start=1)
        if step.accuracy_after is not None or step.parameter_count_after is not None
    ]
    if not told:
        return None
    table = Table(title="Step by step (accuracy on validation rows)", title_justify="left")
    for heading in ("step", "accuracy", "parameters", "MACs", "latency p50"):
        table.add_column(heading)
    is_regression = report.baseline.accuracy is None and report.baseline.r2 is not None
    score_text = figures.number_text if is_regression else figures.percent_text
    for number, step in told:
        table.add_row(f"{number}. {step.technique}", *_cells(step, score_text))
    return table


def _cells(step: StepReport, score_text: Callable[[float | None], str]) -> list[str]:
    scores = (step.accuracy_before, step.accuracy_after_change, step.accuracy_after)
    return [
        _changed(scores, score_text),
        _changed((step.parameter_count_before, step.parameter_count_after), figures.count_text),
        _changed((step.macs_before, step.macs_after), figures.count_text),
        _changed((step.latency_ms_before, step.latency_ms_after), figures.latency_text),
    ]


def _changed(values: Sequence[T | None], text: Callable[[T | None], str]) -> str:
    """One figure on its way through a step; what is not known is left out."""
    return " -> ".join(text(value) for value in values if value is not None)
