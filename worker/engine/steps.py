"""Carries out a recipe's steps one after another, each on the model the last one made."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras

from app.errors import ExportFailed, StepFailed
from app.recipes.steps import Conversion, Step, Transform
from app.reports.report import SkippedLayer, StepReport
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.source import Converted, Source
from worker.engine.exporting.tflite import Variant
from worker.engine.order import Event
from worker.engine.progress import Clock, Progress
from worker.engine.proving.costs import Costs
from worker.engine.quantizing.levels import LevelsByName, held
from worker.engine.reporting.standing import Fall, Standing, other_teacher_sentence
from worker.engine.standings import Standings
from worker.engine.techniques import technique

# Raises: ExportFailed or StepFailed with the reason.
Convert = Callable[[Any, Any, StepContext], Converted]


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
        self._standings = Standings(context)
        self._falls: list[Fall] = []

    def transform(self, step: Transform) -> None:
        """Apply a step; it takes the place of the model so far."""
        started = self._clock()
        before = self._standings.of(self.model, step)
        context = self._taught(step, before)
        outcome: StepOutcome = technique(step.technique).apply(step, self.model, context)
        self.model = outcome.model
        self.warnings += outcome.warnings
        levels = held({**self._context.levels, **outcome.levels}, outcome.model)
        self.warnings += self._left_levels(step, levels)
        self._context = replace(
            self._context, masks=outcome.masks, lineage=outcome.lineage, levels=levels
        )
        after = self._standings.of(self.model, step)
        self._note_fall(step, before, after)
        changed = outcome.accuracy_after_change if step.training() else _score(after)
        report = self._report(
            step,
            started,
            accuracies=(_score(before), changed, _score(after)),
            facts=outcome.facts,
            skipped=outcome.skipped,
        )
        self._keep(self._with_costs(report, outcome.model) if step.changes_structure else report)

    @property
    def levels(self) -> LevelsByName:
        """On which few values the weights of the model lie now, where steps put them on some."""
        return self._context.levels

    def convert(
        self, step: Conversion, source: Source, runtime: str, convert: Convert
    ) -> Converted:
        """Turn `source` into a file's content; its accuracy is measured later, on the file itself.

        A conversion for two runtimes is one step of the report.
        Raises: what `convert` raises, with the reason kept in the report.
        """
        started = self._clock()
        try:
            converted = convert(step, source, self._context)
        except (ExportFailed, StepFailed) as error:
            self._keep_conversion(step, started, {f"{runtime}_obstacle": error.detail}, ())
            raise
        self.warnings += converted.warnings
        self._keep_conversion(step, started, converted.facts, converted.skipped)
        return converted

    def next_best(self, step: Conversion, source: Source) -> Converted | None:
        """What is offered where the recipe's own conversion gave no file that holds.

        Null where it would quantize nothing either.
        """
        converted: Converted = technique(step.technique).convert(step, source, self._context)
        if converted.variant == Variant.FLOAT32:
            return None
        self.warnings += converted.warnings
        return converted

    def all_warnings(self) -> Iterator[str]:
        """Those of steps, and the falls in accuracy that no later step made good."""
        last = self._standings.latest
        for fall in self._falls:
            if last is None or last.is_clearly_below(fall.before):
                yield fall.sentence()
        yield from self.warnings

    def _left_levels(self, step: Transform, levels: LevelsByName) -> Iterator[str]:
        """A step that trains after weights were quantized undoes that without a word."""
        left = [name for name in self._context.levels if name not in levels]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            names = ", ".join(left[:3]) + more
            yield (
                f"Step {len(self.reports) + 1} ({step.technique}) moved {names} off the few "
                "values that an earlier step put them on, so files store them in full. "
                "Quantize or cluster last, or train with quantization_aware_training."
            )

    def _with_costs(self, report: StepReport, model: keras.Model) -> StepReport:
        before, after = self._costs.add(model, self.levels)
        return report.model_copy(
            update={
                "parameter_count_before": before.parameter_count,
                "parameter_count_after": after.parameter_count,
                "macs_before": before.macs,
                "macs_after": after.macs,
            }
        )

    def _taught(self, step: Step, given: Standing | None) -> StepContext:
        """The context in which a step learns from the better model where nobody named one."""
        if not step.leaves_teacher_open() or given is None:
            return self._context
        uploaded = self._standings.of_uploaded(step)
        if uploaded is None or not uploaded.is_clearly_below(given):
            return self._context
        number = len(self.reports) + 1
        self.warnings.append(other_teacher_sentence(number, step.technique, given, uploaded))
        return replace(self._context, better_teacher=self.model)

    def _note_fall(self, step: Step, before: Standing | None, after: Standing | None) -> None:
        if before and after and after.is_clearly_below(before):
            number, is_trained = len(self.reports) + 1, step.training() is not None
            self._falls.append(Fall(number, step.technique, before, after, is_trained))

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

    def _keep_conversion(
        self,
        step: Conversion,
        started: float,
        facts: dict[str, Any],
        skipped: tuple[SkippedLayer, ...],
    ) -> None:
        accuracies = (_score(self._standings.latest), None, None)
        report = self._report(step, started, accuracies=accuracies, facts=facts, skipped=skipped)
        last = self.reports[-1] if self.reports else None
        if last is None or last.technique != step.technique:
            self._keep(report)
            return
        self.reports[-1] = report.model_copy(
            update={
                "duration_s": last.duration_s + report.duration_s,
                "facts": {**last.facts, **facts},
                "skipped": tuple(dict.fromkeys((*last.skipped, *skipped))),
            }
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


def _score(standing: Standing | None) -> float | None:
    return None if standing is None else standing.score
