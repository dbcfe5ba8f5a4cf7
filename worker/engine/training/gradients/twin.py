"""The same training with float32 gradients, to say what coding them costs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras

from app.errors import TrainingDiverged
from app.recipes.steps.recovery import Recovery
from worker.engine.context import ReportProgress, StepContext
from worker.engine.training.history import TrainingHistory
from worker.engine.training.interventions import Interventions

TWIN_DIVERGED = (
    "The same training with float32 gradients ran into NaN or infinite values, so there is no "
    "accuracy to compare that of coded gradients with."
)
Train = Callable[[keras.Model, StepContext, Recovery, Interventions], TrainingHistory]


@dataclass(frozen=True)
class PartOfProgress:
    """Tells of one run's progress as that of its part of the whole."""

    report: ReportProgress
    start: float
    share: float

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        self.report(self.start + self.share * fraction, message, **metrics)


def trained_beside_float32(
    train: Train,
    model: keras.Model,
    context: StepContext,
    options: Recovery,
    interventions: Interventions,
) -> TrainingHistory:
    """Train as asked, after the same training in float32 from the same start; report both.

    On the model itself, which is then put back: what techniques hold on to is of this model.
    Raises: what `train` raises.
    """
    start = _Start(model, interventions)
    report = context.report_progress
    plain = options.model_copy(update={"gradient_quantization": None})
    first, second = (
        replace(context, report_progress=PartOfProgress(report, begin, 0.5)) for begin in (0.0, 0.5)
    )
    float32 = _twin(train, model, first, plain, interventions)
    start.restore()
    history = train(model, second, options, interventions)
    if float32 is None:
        return replace(history, warnings=(*history.warnings, TWIN_DIVERGED))
    return replace(history, coding={**(history.coding or {}), **_compared(history, float32)})


class _Start:
    """Everything that a training changes, as it was."""

    def __init__(self, model: keras.Model, interventions: Interventions) -> None:
        computed = interventions.reparametrization
        beside = [*computed.trained, *computed.state] if computed else []
        self._variables = [*model.variables, *beside]
        self._values = [variable.numpy() for variable in self._variables]
        self._zeros = interventions.zeros
        self._masks = interventions.zeros.masks if interventions.zeros else {}

    def restore(self) -> None:
        if self._zeros:
            self._zeros.change(self._masks)
        for variable, value in zip(self._variables, self._values, strict=True):
            variable.assign(value)


def _twin(
    train: Train,
    model: keras.Model,
    context: StepContext,
    options: Recovery,
    interventions: Interventions,
) -> TrainingHistory | None:
    """None where it diverged."""
    try:
        return train(model, context, options, interventions)
    except TrainingDiverged:
        return None


def _compared(history: TrainingHistory, float32: TrainingHistory) -> dict[str, Any]:
    """Scores are accuracies (r2 in regression) of the kept epochs on the rows set aside."""
    ours, theirs = history.kept_score, float32.kept_score
    shown = ("kept_epoch", "train_loss", "validation_score")
    facts = float32.facts()
    return {
        "score": ours,
        "float32": {
            "score": theirs,
            "seconds_per_step": float32.seconds_per_step,
            **{name: facts[name] for name in shown},
        },
        "score_lost": None if ours is None or theirs is None else theirs - ours,
    }
