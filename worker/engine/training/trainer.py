"""The one training loop: recovery after a change, and fine-tuning."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import StepFailed, TrainingDiverged
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.loading.splits import Split
from worker.engine.training.batch_norm import short_memory
from worker.engine.training.evaluation import Evaluator
from worker.engine.training.history import Best, Epoch, TrainingHistory
from worker.engine.training.lessons import Lessons
from worker.engine.training.prediction import Predictor
from worker.engine.training.targets import HeadLoss, targets
from worker.engine.training.teaching import Teaching, asked_teaching
from worker.engine.training.update import Update, compiled
from worker.engine.training.zeros import HeldZeros

Array = NDArray[Any]
AfterStep = Callable[[int], None]

OPTIMIZERS: Mapping[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "nadam": keras.optimizers.Nadam,
}
SGD_MOMENTUM = 0.9


@dataclass(frozen=True)
class Interventions:
    """What a technique does while its model trains.

    `after_step` is called with the number of optimizer steps done: 0 before the first, then 1, 2,
    ... Epochs that end before `counts_from` steps are never the best: the model was not yet what
    it is to become. `zeros` are held after every step. `teaching` adds what teachers say to the
    loss; where it is null, `distill` of the training's options decides.
    """

    zeros: HeldZeros | None = None
    teaching: Teaching | None = None
    after_step: AfterStep | None = None
    counts_from: int = 0


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
        best = Best()
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
        teaching = interventions.teaching or asked_teaching(options, context)
        self._lessons = Lessons(teaching, model, context, rows) if teaching else None
        self._update = compiled(
            Update(
                model,
                _optimizer(options, self._steps),
                tuple(HeadLoss(task, options.loss) for task in context.tasks),
                interventions.zeros,
                self._lessons,
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
        labels = [values[positions] for values in self._targets]
        answers = self._lessons.answers(positions) if self._lessons else []
        loss = float(self._update(inputs, labels, answers))
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


def _optimizer(options: Recovery, steps: int) -> keras.optimizers.Optimizer:
    decay = keras.optimizers.schedules.CosineDecay(options.learning_rate, decay_steps=steps)
    momentum = {"momentum": SGD_MOMENTUM} if options.optimizer == "sgd" else {}
    return OPTIMIZERS[options.optimizer](learning_rate=decay, **momentum)
