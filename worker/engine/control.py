"""The control: the untouched model trained as long, to tell training from compression."""

from dataclasses import replace

import keras

from app.recipes.recipe import Recipe
from app.recipes.steps.fine_tuning import FineTuning
from app.recipes.steps.recovery import TEACHING, Recovery
from app.reports.report import Control, Measurement
from worker.engine.context import StepContext
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.training.evaluation import evaluate
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train


def training_for_control(recipe: Recipe) -> FineTuning | None:
    """The recipe's first training with the epochs of all of them; null if it does not train.

    Without teachers: the untouched model has nothing to learn from itself. With float32 gradients
    in one process: it is what others are compared with.
    """
    trainings = [training for step in recipe.steps if (training := step.training())]
    if not trainings:
        return None
    alone = Recovery.model_fields.keys() - {"distill", "gradient_quantization", *TEACHING}
    shared = {name: getattr(trainings[0], name) for name in alone}
    epochs = sum(training.epochs for training in trainings)
    return FineTuning(**{**shared, "epochs": min(epochs, 1000)})


def run_control(
    step: FineTuning, model: keras.Model | None, context: StepContext, baseline: Measurement
) -> Control:
    """Fine-tune the uploaded model and measure it on the test rows, in Keras."""
    assert model is not None, "what trains is a Keras model"  # for the type checker
    assert context.data is not None, "what trains has data"
    trained = trained_alone(step, model, context)
    figures = evaluate(trained, context.data.test, context.tasks, context.check_cancelled)
    before = baseline.accuracy if baseline.accuracy is not None else baseline.r2
    gained = None if figures.score is None or before is None else figures.score - before
    return Control(
        epochs=step.epochs, accuracy=figures.accuracy, r2=figures.r2, accuracy_gain=gained
    )


def trained_alone(step: FineTuning, model: keras.Model, context: StepContext) -> keras.Model:
    """A trained copy with the best of its epochs, without that before the first.

    The upload may have learned the validation rows by heart: it would be the best of all, and the
    control would not be what training alone gives.
    Raises: what `train` raises.
    """
    copy = clone_with_weights(model)
    train(copy, replace(context, masks={}), step, Interventions(counts_from=1))
    return copy
