"""The one training loop: recovery after a change, and fine-tuning."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.errors import StepFailed, TrainingDiverged
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.loading.models import flat_outputs, packed_inputs
from worker.engine.loading.splits import Split
from worker.engine.training.batch_norm import short_memory
from worker.engine.training.evaluation import Evaluation, Evaluator
from worker.engine.training.prediction import Predictor, input_signature
from worker.engine.training.targets import HeadLoss, targets
from worker.engine.training.teaching import Teaching
from worker.engine.training.zeros import HeldZeros

Array = NDArray[Any]
AfterStep = Callable[[int], None]
# Inputs and targets of a batch, in the model's order -> loss.
CompiledStep = Callable[[Sequence[Array], Sequence[Array]], Any]

OPTIMIZERS: Mapping[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "nadam": keras.optimizers.Nadam,
}
SGD_MOMENTUM = 0.9


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows came to; `validation` is null without such rows."""

    train_loss: float
    validation: Evaluation | None


@dataclass(frozen=True)
class TrainingHistory:
    """Every epoch, and the number (from 1) of the one whose weights the model now has."""

    epochs: tuple[Epoch, ...]
    kept_epoch: int
    optimizer_steps: int

    def facts(self) -> dict[str, Any]:
        """Plain values for a step's report."""
        losses = [round(epoch.train_loss, 6) for epoch in self.epochs]
        scores = [epoch.validation.score for epoch in self.epochs if epoch.validation]
        return {
            "epochs": len(self.epochs),
            "kept_epoch": self.kept_epoch,
            "optimizer_steps": self.optimizer_steps,
            "train_loss": losses,
            "validation_score": scores,
        }


@dataclass(frozen=True)
class Interventions:
    """What a technique does while its model trains.

    `after_step` is called with the number of optimizer steps done: 0 before the first, then 1, 2,
    ... Epochs that end before `counts_from` steps are never the best: the model was not yet what
    it is to become. `zeros` are held after every step. `teaching` adds what teachers say
    to the loss.
    """

    zeros: HeldZeros | None = None
    teaching: Teaching | None = None
    after_step: AfterStep | None = None
    counts_from: int = 0


@dataclass
class _Best:
    """The best epoch so far: highest accuracy, or lowest loss in regression; ties go to the later.

    What is trained longer at full sparsity is better recovered, though a few rows cannot show it.
    """

    rank: float = -math.inf
    epoch: int = 0
    weights: list[Array] = field(default_factory=list)

    def offer(self, epoch: int, evaluation: Evaluation, model: keras.Model) -> None:
        accuracy = evaluation.accuracy
        rank = accuracy if accuracy is not None else -evaluation.loss
        if rank >= self.rank:
            self.rank, self.epoch, self.weights = rank, epoch, model.get_weights()


def train(
    model: keras.Model,
    context: StepContext,
    options: Recovery,
    interventions: Interventions,
) -> TrainingHistory:
    """Train `model` in place, a clone made for it, and leave it with the best epoch's weights.

    The learning rate decays along a cosine to 0; the same seed gives the same weights.
    Raises: TrainingDiverged at the first loss that is not finite, or after an epoch that left such
        weights; StepFailed if all is frozen; Cancelled.
    """
    if not model.trainable_variables:
        raise StepFailed(
            "every weight of the model is frozen, so there is nothing to train",
            hint="Set `trainable = True` on the layers to train before saving the model.",
        )
    rows, validation = context.divided(options.validation_fraction)
    seed_layers(model, context.seed)
    evaluator = None
    if validation:
        predict = Predictor(model, validation.columns)
        evaluator = Evaluator(predict, validation, context.tasks, context.check_cancelled)
    with short_memory(model, context.optimizer_steps(options)):
        run = _Run(model, context, options, interventions, rows)
        best = _Best()
        epochs: list[Epoch] = []
        for number in range(1, options.epochs + 1):
            train_loss = run.epoch(number)
            evaluation = evaluator() if evaluator else None
            epochs.append(Epoch(train_loss, evaluation))
            if evaluation and run.steps_done >= interventions.counts_from:
                best.offer(number, evaluation, model)
    if best.weights:
        model.set_weights(best.weights)
    return TrainingHistory(tuple(epochs), best.epoch or options.epochs, run.steps_done)


def seed_layers(model: keras.Model, seed: int) -> None:
    """Start the random layers (dropout, noise) from `seed`: Keras starts them anywhere."""
    for index, variable in enumerate(model.non_trainable_variables):
        if variable.name == "seed_generator_state":
            variable.assign(np.array([seed, index], variable.dtype))


class _Run:
    """One training under way: the compiled step, the order of rows, the count of steps."""

    def __init__(
        self,
        model: keras.Model,
        context: StepContext,
        options: Recovery,
        interventions: Interventions,
        rows: Split,
    ) -> None:
        self._model = model
        self._context = context
        self._options = options
        self._interventions = interventions
        self._rows = rows
        self._targets = [targets(task, rows.labels[task.output]) for task in context.tasks]
        self._steps = context.optimizer_steps(options)
        self._rng = np.random.default_rng(context.seed)
        self._train_step = _compiled_step(
            _TrainStep(
                model,
                _optimizer(options, self._steps),
                tuple(HeadLoss(task, options.loss) for task in context.tasks),
                interventions.zeros,
            ),
            rows,
            self._targets,
        )
        self.steps_done = 0
        self._after_step()

    def epoch(self, number: int) -> float:
        """One pass in a new random order. Returns: mean training loss."""
        order = self._rng.permutation(len(self._rows))
        total = 0.0
        for start in range(0, len(order), self._options.batch_size):
            positions = order[start : start + self._options.batch_size]
            loss = self._step(positions)
            total += loss * len(positions)
            self._context.report_progress(
                self.steps_done / self._steps,
                f"epoch {number} of {self._options.epochs}",
                loss=loss,
            )
        # A loss is that before its update: the last one of an epoch is not yet seen.
        if not all(np.isfinite(weight).all() for weight in self._model.get_weights()):
            raise self._diverged("weights became NaN or infinite")
        return total / len(order)

    def _step(self, positions: NDArray[np.int64]) -> float:
        self._context.check_cancelled()
        inputs = list(self._rows.fed(positions).values())
        loss = float(self._train_step(inputs, [values[positions] for values in self._targets]))
        self.steps_done += 1
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}")
        self._after_step()
        return loss

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"{what} at optimizer step {self.steps_done} of {self._steps}",
            hint=f"Lower learning_rate (it was {self._options.learning_rate:g}) or check the "
            "range of the inputs (`scale` and `offset` of the data set).",
        )

    def _after_step(self) -> None:
        if self._interventions.after_step:
            self._interventions.after_step(self.steps_done)


@dataclass(frozen=True)
class _TrainStep:
    """Forward, backward, update, zeros: one graph. Returns the data loss before the update."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    losses: tuple[HeadLoss, ...]
    zeros: HeldZeros | None

    def __call__(self, inputs: Sequence[Any], labels: Sequence[Any]) -> Any:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = flat_outputs(self.model(packed_inputs(self.model, inputs), training=True))
            parts = [
                loss(y, output)
                for loss, y, output in zip(self.losses, labels, outputs, strict=True)
            ]
            data_loss = tf.add_n([tf.cast(part, tf.float32) for part in parts])
            penalties = [tf.cast(penalty, tf.float32) for penalty in self.model.losses]
            total = tf.add_n([data_loss, *penalties])
        self.optimizer.apply(tape.gradient(total, variables), variables)
        if self.zeros:
            self.zeros.hold()
        return data_loss


def _compiled_step(step: _TrainStep, rows: Split, labels: Sequence[Array]) -> CompiledStep:
    step.optimizer.build(step.model.trainable_variables)
    label_signature = [
        tf.TensorSpec((None, *values.shape[1:]), tf.as_dtype(values.dtype)) for values in labels
    ]
    compiled: CompiledStep = tf.function(
        step.__call__,
        input_signature=[input_signature(rows.columns), label_signature],
        autograph=False,
    )
    return compiled


def _optimizer(options: Recovery, steps: int) -> keras.optimizers.Optimizer:
    decay = keras.optimizers.schedules.CosineDecay(options.learning_rate, decay_steps=steps)
    momentum = {"momentum": SGD_MOMENTUM} if options.optimizer == "sgd" else {}
    return OPTIMIZERS[options.optimizer](learning_rate=decay, **momentum)
