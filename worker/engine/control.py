"""The control: the untouched model trained as long, to tell training from compression."""

from dataclasses import replace

import keras

from app.recipes.recipe import Recipe
from app.recipes.steps.fine_tuning import FineTuning
from app.recipes.steps.recovery import TEACHING, Recovery
from app.reports.report import Control, Measurement
from worker.engine.context import StepContext, StepOutcome
from worker.engine.techniques import technique
from worker.engine.training.evaluation import evaluate


def training_for_control(recipe: Recipe) -> FineTuning | None:
    """The recipe's first training with the epochs of all of them; null if it does not train.

    Without teachers: the untouched model has nothing to learn from itself.
    """
    trainings = [training for step in recipe.steps if (training := step.training())]
    if not trainings:
        return None
    alone = Recovery.model_fields.keys() - {"distill", *TEACHING}
    shared = {name: getattr(trainings[0], name) for name in alone}
    epochs = sum(training.epochs for training in trainings)
    return FineTuning(**{**shared, "epochs": min(epochs, 1000)})


def run_control(
    step: FineTuning, model: keras.Model | None, context: StepContext, baseline: Measurement
) -> Control:
    """Fine-tune the uploaded model and measure it on the test rows, in Keras."""
    untouched = replace(context, masks={})
    outcome: StepOutcome = technique(step.technique).apply(step, model, untouched)
    assert context.data is not None, "what trains has data"  # for the type checker
    figures = evaluate(outcome.model, context.data.test, context.tasks, context.check_cancelled)
    before = baseline.accuracy if baseline.accuracy is not None else baseline.r2
    gained = None if figures.score is None or before is None else figures.score - before
    return Control(
        epochs=step.epochs, accuracy=figures.accuracy, r2=figures.r2, accuracy_gain=gained
    )
