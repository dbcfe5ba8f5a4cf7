"""Recovery: how good a model is right after a change, and the training that follows it."""

from dataclasses import dataclass, field
from typing import Any

import keras

from app.recipes.steps import Step
from worker.engine.context import Masks, StepContext
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros


@dataclass(frozen=True)
class Recovered:
    """Accuracies (r2 in regression) on the rows set aside; null where nothing trained or no such.

    `warnings` are sentences for the report.
    """

    accuracy_after_change: float | None = None
    accuracy_after: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def recover(step: Step, model: keras.Model, masks: Masks, context: StepContext) -> Recovered:
    """Train a changed model in place as the step says, its zeros held; nothing if it does not say.

    Raises: what `train` raises.
    """
    training = step.training()
    if training is None:
        return Recovered()
    history = train(model, context, training, Interventions(zeros=HeldZeros(model, masks)))
    return Recovered(history.score_before, history.kept_score, history.facts(), history.warnings)
