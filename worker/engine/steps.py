"""Carries out a recipe's steps one after another, each on the model the last one made."""

import time
from dataclasses import replace
from typing import Any

import keras

from app.recipes.steps import Conversion, Step, Transform
from app.reports.report import SkippedLayer, StepReport
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.source import Converted, Source
from worker.engine.order import Event
from worker.engine.progress import Clock, Progress
from worker.engine.proving.costs import Costs
from worker.engine.techniques import technique
from worker.engine.training.evaluation import evaluate


def phase_of(index: int, step: Step) -> str:
    """The name of a step's phase, unique in its recipe."""
    return f"step {index + 1}: {step.technique}"


class Workpiece:
    """The model on its way through the steps: as it is now, what must stay zero, what was done.

    `model` is null for a tflite upload, which only a conversion works on.
    """

    def __init__(
        self,
        model: keras.Model | None,
        context: StepContext,
        progress: Progress,
        costs: Costs,
        clock: Clock = time.monotonic,
    ) -> None:
        self.model = model
        self.reports: list[StepReport] = []
        self.warnings: list[str] = []
        self._context = context
        self._progress = progress
        self._costs = costs
        self._clock = clock
        self._score: tuple[keras.Model, int, float | None] | None = None

    def transform(self, step: Transform) -> None:
        """Apply a step; it takes the place of the model so far."""
        started = self._clock()
        before = self._validation_score(step)
        outcome: StepOutcome = technique(step.technique).apply(step, self.model, self._context)
        self.model = outcome.model
        self.warnings += outcome.warnings
        self._context = replace(self._context, masks=outcome.masks, lineage=outcome.lineage)
        after = self._validation_score(step)
        changed = outcome.accuracy_after_change if step.training() else after
        report = self._report(
            step,
            started,
            accuracies=(before, changed, after),
            facts=outcome.facts,
            skipped=outcome.skipped,
        )
        self._keep(self._with_costs(report, outcome.model) if step.changes_structure else report)

    def convert(self, step: Conversion, source: Source) -> Converted:
        """Turn `source` into a tflite file; its accuracy is measured later, on the file itself."""
        started = self._clock()
        converted: Converted = technique(step.technique).convert(step, source, self._context)
        self.warnings += converted.warnings
        report = self._report(
            step,
            started,
            accuracies=(self._score[2] if self._score else None, None, None),
            facts=converted.facts,
            skipped=converted.skipped,
        )
        self._keep(report)
        return converted

    def _with_costs(self, report: StepReport, model: keras.Model) -> StepReport:
        before, after = self._costs.add(model)
        return report.model_copy(
            update={
                "parameter_count_before": before.parameter_count,
                "parameter_count_after": after.parameter_count,
                "macs_before": before.macs,
                "macs_after": after.macs,
            }
        )

    def _validation_score(self, step: Step) -> float | None:
        """Accuracy (r2) of the present model on the step's validation rows, computed once."""
        rows = self._context.validation_of(step)
        if rows is None or self.model is None:
            return None
        known = self._score
        if known is None or known[0] is not self.model or known[1] != len(rows):
            context = self._context
            figures = evaluate(self.model, rows, context.tasks, context.check_cancelled)
            known = (self.model, len(rows), figures.score)
            self._score = known
        return known[2]

    def _report(
        self,
        step: Step,
        started: float,
        *,
        accuracies: tuple[float | None, float | None, float | None],
        facts: dict[str, Any],
        skipped: tuple[SkippedLayer, ...],
    ) -> StepReport:
        return StepReport(
            technique=step.technique,
            parameters=step.model_dump(mode="json", exclude={"technique"}),
            duration_s=self._clock() - started,
            accuracy_before=accuracies[0],
            accuracy_after_change=accuracies[1],
            accuracy_after=accuracies[2],
            facts=facts,
            skipped=skipped,
        )

    def _keep(self, report: StepReport) -> None:
        self.reports.append(report)
        self._progress.tell(
            Event(
                event="step",
                message=f"{report.technique} done",
                data={
                    "duration_s": report.duration_s,
                    "accuracy_before": report.accuracy_before,
                    "accuracy_after": report.accuracy_after,
                },
            )
        )
