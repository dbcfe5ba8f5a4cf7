"""Initialization: chosen layers start again, from a scheme or from another model."""

from dataclasses import dataclass, replace
from typing import Any

import keras

from app.errors import StepFailed
from app.recipes.steps.initialization import Initialization
from app.reports.report import SkippedLayer
from worker.engine.context import ReportProgress, StepContext, StepOutcome
from worker.engine.initializing.starting import Start, started
from worker.engine.surgery.weights import Leaf, leaves
from worker.engine.training.evaluation import Evaluation
from worker.engine.training.history import TrainingHistory, rank_of
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros


def apply(step: Initialization, model: keras.Model, context: StepContext) -> StepOutcome:
    """A copy with new weights in the chosen layers, trained if the step says so.

    Raises: StepFailed if no layer is chosen or gets weights; what `train` raises.
    """
    chosen, skipped = _chosen(step, model)
    source = _source(step, context)
    schemes = step.schemes()
    kept: Trial | None = None
    comparison = []
    for index, scheme in enumerate(schemes):
        context.check_cancelled()
        share = replace(context, report_progress=_Share(context.report_progress, index, schemes))
        share.report_progress(0.0, f"{scheme}: {len(chosen)} layers start again")
        start = started(model, chosen, step, scheme, source, context)
        trial = _trial(step, start, share)
        comparison.append(trial.curve())
        if kept is None or (step.keep == "best" and trial.rank() > kept.rank()):
            kept = trial
    assert kept is not None, "a step has a scheme"  # for the type checker
    return StepOutcome(
        model=kept.start.model,
        masks=context.masks,
        lineage=context.lineage,
        accuracy_after_change=kept.before.score if kept.before else None,
        facts={**kept.facts(), "comparison": comparison},
        skipped=(*skipped, *kept.start.skipped),
        warnings=kept.history.warnings if kept.history else (),
    )


@dataclass(frozen=True)
class Trial:
    """One scheme with its training; `before` is null without validation rows."""

    start: Start
    before: Evaluation | None = None
    history: TrainingHistory | None = None

    def rank(self) -> float:
        """Higher is better: that of the kept epoch."""
        return rank_of(self.history.kept if self.history else None)

    def curve(self) -> dict[str, Any]:
        """What this start was worth: loss and score on validation rows after 0, 1 and n epochs."""
        epochs = [epoch.validation for epoch in self.history.epochs] if self.history else []
        points = {0: self.before} | {
            number: epochs[number - 1] for number in (1, len(epochs)) if epochs
        }
        return {
            "scheme": self.start.scheme,
            "validation": [_point(number, seen) for number, seen in points.items() if seen],
            "stopped": self.history.stopped if self.history else None,
        }

    def facts(self) -> dict[str, Any]:
        return {**self.start.facts, **(self.history.facts() if self.history else {})}


@dataclass(frozen=True)
class _Share:
    """Progress of one scheme as its share of the step."""

    report: ReportProgress
    index: int
    schemes: tuple[str, ...]

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        done = (self.index + fraction) / len(self.schemes)
        self.report(done, f"{self.schemes[self.index]}: {message}", **metrics)


def _trial(step: Initialization, start: Start, context: StepContext) -> Trial:
    """The start, trained in place; one that diverges is as good as it was at the start."""
    training = step.training()
    if training is None:
        return Trial(start)
    zeros = HeldZeros(start.model, context.masks)
    history = train(start.model, context, training, Interventions(zeros=zeros))
    return Trial(start, history.before, history)


def _chosen(
    step: Initialization, model: keras.Model
) -> tuple[tuple[Leaf, ...], tuple[SkippedLayer, ...]]:
    """Layers with weights that the recipe chooses, and the others with the reason."""
    weighted = [leaf for leaf in leaves(model) if leaf.layer.weights]
    chosen = tuple(leaf for leaf in weighted if step.selects(leaf.layer.name))
    if not chosen:
        raise StepFailed(
            "none of the chosen layers has weights. Layers with weights: "
            + ", ".join(leaf.layer.name for leaf in weighted),
            hint="Change `include` and `exclude`.",
        )
    skipped = tuple(
        SkippedLayer(layer=leaf.layer.name, reason="not chosen by the recipe")
        for leaf in weighted
        if leaf not in chosen
    )
    return chosen, skipped


def _source(step: Initialization, context: StepContext) -> keras.Model | None:
    """The model that `pretrained` takes weights from: loaded once, if it is asked for at all."""
    if "pretrained" not in step.schemes():
        return None
    if step.source_model_id:
        return context.load_model(step.source_model_id)
    return context.baseline


def _point(epochs: int, seen: Evaluation) -> dict[str, Any]:
    score = None if seen.score is None else round(seen.score, 6)
    return {"epochs": epochs, "loss": round(seen.loss, 6), "score": score}
