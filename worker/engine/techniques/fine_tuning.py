"""Fine-tuning: train the model as it is."""

import keras

from app.recipes.steps.fine_tuning import FineTuning
from worker.engine.context import StepContext, StepOutcome
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros


def apply(step: FineTuning, model: keras.Model, context: StepContext) -> StepOutcome:
    """A trained copy; what earlier steps pruned stays zero."""
    trained = clone_with_weights(model)
    zeros = HeldZeros(trained, context.masks)
    history = train(trained, context, step, Interventions(zeros=zeros))
    return StepOutcome(
        model=trained,
        masks=context.masks,
        lineage=context.lineage,
        facts=history.facts(),
        warnings=history.warnings,
    )
