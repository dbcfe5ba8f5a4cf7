"""What a bit of log-likelihood is worth in the loss that a training lowers."""

import math

import keras
import tensorflow as tf

from app.recipes.steps.recovery import Recovery
from app.recipes.task import TaskKind
from worker.engine.context import StepContext
from worker.engine.loading.models import flat_outputs, packed_inputs
from worker.engine.loading.splits import Split
from worker.engine.training.losses import HeadLoss
from worker.engine.training.targets import targets

ROWS = 2048
SMALLEST = 1e-12


def bit_in_loss(model: keras.Model, options: Recovery, context: StepContext, rows: Split) -> float:
    """The mean loss over `rows` rises by this where their log-likelihood falls by one bit.

    A cross-entropy is a log-likelihood in nats: ln 2 / rows. Another loss L is taken for that of
    errors as large as those of the given model: with squared errors of mean s^2, -log p is
    L / (2 s^2); with a mean loss of s otherwise, L / s.
    """
    return math.log(2) / len(rows) * _nat_in_loss(model, options, context, rows)


def _nat_in_loss(model: keras.Model, options: Recovery, context: StepContext, rows: Split) -> float:
    if options.loss.endswith("crossentropy") or options.loss == "poisson":
        return 1.0
    if options.loss == "auto" and any(
        task.kind is not TaskKind.REGRESSION for task in context.tasks
    ):
        return 1.0
    inputs = [tf.convert_to_tensor(values) for values in rows.take(ROWS).values()]
    outputs = flat_outputs(model(packed_inputs(model, inputs), training=False))
    losses = [
        float(HeadLoss(task, options.loss)(targets(task, rows.labels[task.output][:ROWS]), output))
        for task, output in zip(context.tasks, outputs, strict=True)
    ]
    is_squared = options.loss in ("auto", "mean_squared_error")
    return max((2 if is_squared else 1) * abs(sum(losses)), SMALLEST)
