"""Layer removal: the least important layers and blocks go; their readers read what they read."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import keras
import numpy as np

from app.errors import StepFailed
from app.recipes.steps.layer_removal import LayerRemoval
from app.recipes.steps.recovery import Recovery
from app.reports.report import SkippedLayer
from worker.engine.context import ReportProgress, StepContext, StepOutcome
from worker.engine.loading.splits import Split, stratified_order
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.spans.bridges import Projection
from worker.engine.surgery.spans.candidates import SHOWN, Candidates, candidates_of, named_spans
from worker.engine.surgery.spans.choosing import (
    Choice,
    Limits,
    Remembered,
    Removal,
    Try,
    greedy,
    loss_increases,
    ranked,
)
from worker.engine.surgery.spans.finding import Span
from worker.engine.surgery.spans.gates import GatedModel
from worker.engine.surgery.spans.removal import Bridge, without_spans
from worker.engine.surgery.spans.taps import block_influence, projections
from worker.engine.training.evaluation import Evaluation, Evaluator
from worker.engine.training.recovery import Recovered, recover

# Of the step's progress; the rest is recovery.
CHOOSING = 0.3
# Half of the variance: below, a projection hits more than it misses.
POOR_FIT = math.sqrt(0.5)
BRIDGED = "it is a bridge that layer_removal put in; the uploaded model has none"


def apply(step: LayerRemoval, model: keras.Model, context: StepContext) -> StepOutcome:
    """A copy without the chosen spans, trained if the step says so and anything went.

    Raises: StepFailed if there is too little that can go, or a named layer cannot.
    """
    context.check_cancelled()
    candidates = candidates_of(step, model)
    named = named_spans(step.layers, model, candidates) if step.layers else ()
    if step.count is not None and step.count > len(candidates.spans):
        raise _too_few(step, candidates, len(candidates.spans))
    fits = _fits(model, candidates, context, step)
    bridges = {
        name: candidates.plans[name].bridge(fit.kernel, fit.bias) for name, fit in fits.items()
    }
    choice = _Work(step, model, candidates.spans, bridges, context).choose(named)
    if step.count is not None and len(choice.removals) < step.count:
        raise _too_few(step, candidates, len(choice.removals))
    context.report_progress(
        CHOOSING if step.training() else 1.0, f"{len(choice.removals)} spans taken out"
    )
    names = [span.name for span in choice.spans]
    used = {name: bridge for name, bridge in bridges.items() if name in names}
    removed = without_spans(model, choice.spans, context.masks, used)
    smaller = removed.model if names else clone_with_weights(model)
    recovered = Recovered()
    if names:
        later = replace(context, report_progress=_Later(context.report_progress, CHOOSING))
        recovered = recover(step, smaller, removed.masks, later)
    return StepOutcome(
        model=smaller,
        masks=removed.masks,
        lineage=context.lineage.with_foreign(_weights_of(used), BRIDGED),
        accuracy_after_change=recovered.accuracy_after_change,
        facts={**_facts(choice, candidates, fits), **recovered.facts},
        skipped=tuple(
            SkippedLayer(layer=path, reason=why) for path, why in candidates.kept.items()
        ),
        warnings=(*_warnings(step, choice, fits), *recovered.warnings),
    )


@dataclass(frozen=True)
class _Work:
    """One choice under way."""

    step: LayerRemoval
    model: keras.Model
    spans: Sequence[Span]
    bridges: Mapping[str, Bridge]
    context: StepContext

    def choose(self, named: Sequence[Span]) -> Choice:
        """What goes, and what is known of it with the data there is."""
        if not self.spans:
            return Choice({}, ())
        rows = self._rows_aside()
        attempt = Remembered(_Trials(self, rows)) if rows else None
        before = attempt([]) if attempt else None
        importance = self._importance(attempt, before)
        limits = self._limits(before)
        if named:
            removals = tuple(_in_turn(named, attempt))
        elif self.step.importance == "greedy" and attempt:
            removals = tuple(greedy(self.spans, attempt, limits))
        else:
            removals = tuple(ranked(self.spans, importance, attempt, limits))
        return Choice(importance, removals, before)

    def trials_expected(self) -> int:
        """How many sets of spans will be tried at most."""
        rounds = 1
        if self.step.importance == "greedy" and not self.step.layers:
            rounds = min(self.step.count or len(self.spans), len(self.spans))
        return rounds * len(self.spans) + 1

    def _importance(self, attempt: Try | None, before: Evaluation | None) -> dict[str, float]:
        context = self.context
        if self.step.importance != "block_influence":
            return loss_increases(self.spans, attempt, before.loss) if attempt and before else {}
        if context.data is None:
            return {}
        rows = _training_rows(self.step, context)
        return block_influence(self.model, self.spans, self.bridges, rows, context.check_cancelled)

    def _limits(self, before: Evaluation | None) -> Limits:
        drop = self.step.max_accuracy_drop
        if drop is None:
            return Limits(self.step.count)
        if before is None or before.score is None:
            raise StepFailed(
                "max_accuracy_drop cannot be held: the rows kept aside give no accuracy, for they "
                "have all one label or the model gives no numbers",
                hint="Choose `count` or `layers`, or give rows that differ.",
            )
        return Limits(least_score=before.score - drop)

    def _rows_aside(self) -> Split | None:
        """Rows to try on; they are needed where the choice depends on them."""
        rows = self.context.validation_of(self.step)
        if rows is not None:
            return _some(rows, self.step.samples, self.context.seed)
        if self.step.measures_losses():
            raise StepFailed(
                "which layers go is measured on labelled rows kept aside from training, and "
                "there are none",
                hint="Raise recovery.validation_fraction, give more rows, or choose layers by "
                "name or by importance: block_influence and count.",
            )
        return None


class _Trials:
    """The model without some spans, measured on the same rows each time."""

    def __init__(self, work: _Work, rows: Split) -> None:
        context = work.context
        self._gated = GatedModel(work.model, work.spans, work.bridges, rows.columns)
        self._evaluate = Evaluator(self._gated, rows, context.tasks, context.check_cancelled)
        self._report = context.report_progress
        self._share = CHOOSING if work.step.training() else 1.0
        self._expected = work.trials_expected()
        self._done = 0

    def __call__(self, spans: Sequence[Span]) -> Evaluation:
        self._gated.close(span.name for span in spans)
        found = self._evaluate()
        self._done += 1
        share = self._share * min(1.0, self._done / self._expected)
        self._report(share, f"tried without {len(spans)} spans", loss=found.loss)
        return found


@dataclass(frozen=True)
class _Later:
    """Progress of what comes after the choosing."""

    report: ReportProgress
    begin: float

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        self.report(self.begin + (1 - self.begin) * fraction, message, **metrics)


def _fits(
    model: keras.Model, candidates: Candidates, context: StepContext, step: LayerRemoval
) -> dict[str, Projection]:
    """The projections of all spans that need one, fitted to activations of training rows."""
    if not candidates.plans:
        return {}
    rows = _training_rows(step, context)
    fits: dict[str, Projection] = {}
    plans = tuple(candidates.plans.values())
    for plan, fit in projections(model, plans, rows, context.check_cancelled):
        fits[plan.span.name] = fit
        context.report_progress(0.0, f"fitted a bridge over {plan.span.name}")
    return fits


def _training_rows(step: LayerRemoval, context: StepContext) -> Split:
    """Some of the rows that the step does not validate on."""
    fraction = (step.training() or Recovery()).validation_fraction
    return _some(context.divided(fraction)[0], step.samples, context.seed)


def _some(rows: Split, count: int, seed: int) -> Split:
    """At most `count` rows, each class in its share."""
    if len(rows) <= count:
        return rows
    order = stratified_order(rows.strata(), np.random.default_rng(seed))
    return rows.select(np.sort(order[:count]))


def _weights_of(bridges: Mapping[str, Bridge]) -> Iterator[str]:
    for bridge in bridges.values():
        yield from bridge.weights


def _in_turn(spans: Sequence[Span], attempt: Try | None) -> Iterator[Removal]:
    """All of them, one after another."""
    for number, span in enumerate(spans, 1):
        yield Removal(span, attempt(spans[:number]) if attempt else None)


def _too_few(step: LayerRemoval, candidates: Candidates, able: int) -> StepFailed:
    kept = "; ".join(f"{path}: {why}" for path, why in islice(candidates.kept.items(), SHOWN))
    return StepFailed(
        f"count is {step.count}, but the model has {able} spans that can go together: "
        f"{candidates.names()}",
        hint=(f"What stays: {kept}. " if kept else "")
        + "Lower count, change include and exclude, or set bridge to take out what changes shapes.",
    )


def _facts(
    choice: Choice, candidates: Candidates, fits: Mapping[str, Projection]
) -> dict[str, Any]:
    """Plain values for the report: the importance of all, and what each removal cost."""
    return {
        "candidates": [
            {
                "span": span.name,
                "layers": list(span.weighted),
                "parameter_count": span.parameter_count,
                "importance": _finite(choice.importance.get(span.name)),
                "bridge_residual": fits[span.name].residual if span.name in fits else None,
            }
            for span in candidates.spans
        ],
        "before": _figures(choice.before),
        "removal_order": [
            {"span": removal.span.name, **_figures(removal.without)} for removal in choice.removals
        ],
        "removed": [span.name for span in choice.spans],
        "bridged": [span.name for span in choice.spans if span.name in fits],
    }


def _warnings(step: LayerRemoval, choice: Choice, fits: Mapping[str, Projection]) -> Iterator[str]:
    """What did not turn out as one would hope, in plain words."""
    if not choice.removals:
        yield (
            "layer_removal took nothing out: no span can go within a max_accuracy_drop of "
            f"{step.max_accuracy_drop:g} before recovery"
        )
    for span in choice.spans:
        if span.name in fits and fits[span.name].residual > POOR_FIT:
            yield (
                f"layer_removal: the bridge over {span.name!r} is a poor stand-in: it leaves "
                f"{fits[span.name].residual ** 2:.0%} of the variance of what it replaces"
            )


def _figures(evaluation: Evaluation | None) -> dict[str, float | None]:
    """Loss and accuracy (r2) on rows kept aside; null where nothing was measured."""
    if evaluation is None:
        return {"loss": None, "accuracy": None}
    return {"loss": _finite(evaluation.loss), "accuracy": _finite(evaluation.score)}


def _finite(figure: float | None) -> float | None:
    """JSON has no NaN."""
    return None if figure is None or not math.isfinite(figure) else figure
