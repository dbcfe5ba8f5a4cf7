"""What each step of a recipe did, for a person: two lines a step."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from app.reports import figures
from app.reports.report import Report, StepReport

T = TypeVar("T", int, float)


def step_lines(report: Report) -> Iterator[str]:
    """The steps that changed the model; nothing where there are none to tell of."""
    is_regression = report.baseline.accuracy is None and report.baseline.r2 is not None
    told = [
        (number, step)
        for number, step in enumerate(report.steps, start=1)
        if step.accuracy_after is not None or step.parameter_count_after is not None
    ]
    if told:
        yield "Step by step, with scores on validation rows:"
    for number, step in told:
        score = _score(step, is_regression=is_regression)
        yield f"{number}. {step.technique}{f': {score}' if score else ''}"
        if step.parameter_count_after is not None:
            yield f"   {', '.join(_saved(step))}"


def _score(step: StepReport, *, is_regression: bool) -> str:
    scores = (step.accuracy_before, step.accuracy_after_change, step.accuracy_after)
    text = figures.number_text if is_regression else figures.percent_text
    shown = _changed(scores, text)
    return f"{'r2' if is_regression else 'accuracy'} {shown}" if shown else ""


def _saved(step: StepReport) -> Iterator[str]:
    counts = (step.parameter_count_before, step.parameter_count_after)
    yield f"{_changed(counts, figures.short_count_text)} parameters"
    if step.macs_after is not None:
        macs = _changed((step.macs_before, step.macs_after), figures.short_count_text)
        yield f"{macs} multiply-adds"
    latencies = (step.latency_ms_before, step.latency_ms_after)
    if step.latency_obstacle is None:
        yield _changed(latencies, figures.latency_text)
    else:
        yield f"no latency: {step.latency_obstacle}"


def _changed(values: Sequence[T | None], text: Callable[[T | None], str]) -> str:
    """One figure on its way through a step; what is not known is left out."""
    return " -> ".join(text(value) for value in values if value is not None)
