"""The one training loop: recovery after a change, and fine-tuning."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import StepFailed, TrainingDiverged
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.loading.splits import Split
from worker.engine.training.batch_norm import short_memory
from worker.engine.training.evaluation import Evaluation, Evaluator
from worker.engine.training.gradients.team import Place
from worker.engine.training.gradients.twin import trained_beside_float32
from worker.engine.training.history import Epoch, TrainingHistory
from worker.engine.training.interventions import Interventions
from worker.engine.training.prediction import Predictor
from worker.engine.training.resuming import (
    Course,
    fingerprint,
    restored,
    state_of,
    states_of_others,
)
from worker.engine.training.stepping import Stepper
from worker.engine.training.teaching import Teaching, asked_teaching

log = logging.getLogger(__name__)

Array = NDArray[Any]

HALF_BITS_ON_A_CPU = (
    "Training ran in {dtype}. Most processors compute it by way of float32, so it saves memory "
    "and may take longer than float32."
)
ASKED_EACH_TIME = (
    "Augmentation makes new images in every epoch, so the teachers ran on each batch and their "
    "answers could not be kept: this takes longer."
)

BEST_BEFORE = "The weights are those of epoch {epoch} of {epochs}, the best before."
NOTHING_LEARNED = (
    "The weights are those from before this training, so it taught the model nothing: one that "
    "started at random is still random."
)


def train(
    model: keras.Model,
    context: StepContext,
    options: Recovery,
    interventions: Interventions,
) -> TrainingHistory:
    """Train `model` in place, a clone made for it, and leave it with the best epoch's weights.

    The model as it was is one of those to choose from, epoch 0, unless epochs count only later on.
    The same seed gives the same weights, also where a later attempt of the job goes on from a
    checkpoint. If the loss or the weights become NaN or infinite the training ends with the best
    epoch so far, and the history says so. Where gradients are coded, it is trained with float32
    ones before, from the same start, unless `compare_with_float32` is off.
    Raises: TrainingDiverged if no epoch counted before that; StepFailed if all is frozen, a
        teacher does not fit, or several processes cannot share it; ReplicaLost; Cancelled.
    """
    if not model.trainable_variables:
        raise StepFailed(
            "every weight of the model is frozen, so there is nothing to train",
            hint="Set `trainable = True` on the layers to train before saving the model.",
        )
    if options.runs > 1:
        return trained_beside_float32(_trained, model, context, options, interventions)
    return _trained(model, context, options, interventions)


def _trained(
    model: keras.Model,
    context: StepContext,
    options: Recovery,
    interventions: Interventions,
) -> TrainingHistory:
    seed_layers(model, context.seed)
    with short_memory(model, context.optimizer_steps(options)):
        return _Run(model, context, options, interventions).carried_out()


def seed_layers(model: keras.Model, seed: int) -> None:
    """Start the random layers (dropout, noise) from `seed`: Keras starts them anywhere."""
    for index, variable in enumerate(model.non_trainable_variables):
        if variable.name == "seed_generator_state":
            variable.assign(np.array([seed, index], variable.dtype))


class _Run:
    """One training under way: the compiled update, the order of rows, how far it is."""

    def __init__(
        self,
        model: keras.Model,
        context: StepContext,
        options: Recovery,
        interventions: Interventions,
    ) -> None:
        self._model = model
        self._context = context
        self._options = options
        self._interventions = interventions
        self._rows, validation = context.divided(options.validation_fraction)
        self._evaluator = _evaluator(model, context, validation)
        self._steps = context.optimizer_steps(options)
        self._rng = np.random.default_rng(context.seed)
        self._checkpoint = context.checkpoints.next()
        teaching = interventions.teaching or asked_teaching(options, context)
        self._fingerprint = self._started_from(teaching) if self._checkpoint.path else ""
        self._learn = Stepper(model, context, options, interventions, self._rows, teaching)
        self._chosen = self._learn.chosen
        self._course = Course(warnings=list(_warnings(options, teaching)))
        self._states: Mapping[int, Sequence[Array]] = {}

    def carried_out(self) -> TrainingHistory:
        """Train to the end, from where a checkpoint left off."""
        self._after_step()
        before = self._judge_start()
        self._resume()
        is_resumed_at_its_end = self._is_over
        with self._keeping_the_best(), self._together():
            while not self._is_over:
                self._epoch()
        course = self._course
        if self._checkpoint.is_worth_keeping and not is_resumed_at_its_end:
            self._save()
        for variable, value in zip(self._chosen, course.best.weights, strict=False):
            variable.assign(value)
        return course.history(before, self._learn.coding(course.seconds_per_step))

    @contextmanager
    def _together(self) -> Iterator[None]:
        """With the other processes of a shared training, if there is something left to do."""
        course = self._course
        if self._is_over:
            yield
            return
        place = Place(len(course.epochs), course.seen, course.steps_done)
        with self._learn.together(place, self._states):
            yield

    @property
    def _is_over(self) -> bool:
        course = self._course
        return course.stopped is not None or len(course.epochs) == self._options.epochs

    @contextmanager
    def _keeping_the_best(self) -> Iterator[None]:
        """A training that diverges after a good epoch ends with that one."""
        try:
            yield
        except TrainingDiverged as error:
            best = self._course.best
            if not best.weights:
                raise
            self._course.stopped = "training_diverged"
            kept = BEST_BEFORE if best.epoch else NOTHING_LEARNED
            self._course.warnings.append(
                f"Training stopped early (training_diverged): {error.detail}. "
                f"{kept.format(epoch=best.epoch, epochs=self._options.epochs)} {error.hint}"
            )

    def _judge_start(self) -> Evaluation | None:
        """The model as it is now is the first to choose from, if it may be chosen at all."""
        if self._interventions.counts_from:
            return None
        if self._interventions.zeros:
            self._interventions.zeros.hold()
        before = self._evaluation()
        self._course.best.offer(0, before, self._chosen)
        return before

    def _epoch(self) -> None:
        """One pass in a new random order, or the rest of it, and how good the model is then."""
        course, number = self._course, len(self._course.epochs) + 1
        order = self._rng.permutation(len(self._rows))
        while course.seen < len(order):
            positions = order[course.seen : course.seen + self._options.batch_size]
            is_saved = self._checkpoint.is_due
            loss = self._step(positions, is_saved=is_saved)
            course.seen += len(positions)
            course.loss_sum += loss * len(positions)
            self._context.report_progress(
                course.steps_done / self._steps,
                f"epoch {number} of {self._options.epochs}",
                loss=loss,
            )
            if is_saved:
                self._save()
        # A loss is that before its update: the last one of an epoch is not yet seen.
        if not all(np.isfinite(variable.numpy()).all() for variable in self._chosen):
            raise self._diverged("weights became NaN or infinite")
        self._judge(number, course.loss_sum / len(order))
        course.seen, course.loss_sum = 0, 0.0

    def _judge(self, number: int, train_loss: float) -> None:
        course = self._course
        evaluation = self._evaluation()
        course.epochs.append(Epoch(train_loss, evaluation))
        if course.steps_done < self._interventions.counts_from:
            return
        course.best.offer(number, evaluation, self._chosen)
        is_last = number == self._options.epochs
        if not is_last and course.best.is_stale(number, self._options.early_stopping_patience):
            course.stopped = "early"

    def _evaluation(self) -> Evaluation | None:
        """How good the model is as it would be exported now; null without rows to tell by."""
        if self._interventions.reparametrization:
            self._interventions.reparametrization.settle()
        return self._evaluator() if self._evaluator else None

    def _step(self, positions: NDArray[np.int64], *, is_saved: bool) -> float:
        self._context.check_cancelled()
        started = time.perf_counter()
        loss = self._learn(positions, self._course.steps_done, is_saved=is_saved)
        self._course.seconds.append(time.perf_counter() - started)
        self._course.steps_done += 1
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}")
        self._after_step()
        return loss

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"{what} at optimizer step {self._course.steps_done} of {self._steps}",
            hint=f"Lower learning_rate (it was {self._options.learning_rate:g}) or check the "
            "range of the inputs (`scale` and `offset` of the data set).",
        )

    def _after_step(self) -> None:
        if self._interventions.after_step:
            self._interventions.after_step(self._course.steps_done)

    def _started_from(self, teaching: Teaching | None) -> str:
        """What a checkpoint must have started from to fit this training."""
        taught = teaching.fingerprint() if teaching else ""
        held, seed = self._interventions, str(self._context.seed)
        computed = held.reparametrization.fingerprint() if held.reparametrization else ""
        return fingerprint(
            self._model, self._options, self._rows, held.zeros, seed, taught, computed
        )

    def _resume(self) -> None:
        saved = self._checkpoint.load(self._fingerprint)
        if saved is None:
            return
        self._course = restored(saved, self._learn.variables, self._interventions.zeros)
        self._states = states_of_others(saved)
        self._course.resumed_at_step = self._course.steps_done
        log.info("training.resumed", extra={"steps_done": self._course.steps_done})
        for _ in self._course.epochs:
            self._rng.permutation(len(self._rows))

    def _save(self) -> None:
        learn = self._learn
        state = state_of(self._course, learn.variables, self._interventions.zeros, learn.others())
        self._checkpoint.save(self._fingerprint, state)


def _warnings(options: Recovery, teaching: Teaching | None) -> Iterator[str]:
    if options.dtype != "float32":
        yield HALF_BITS_ON_A_CPU.format(dtype=options.dtype)
    if teaching and options.augmentation:
        yield ASKED_EACH_TIME


def _evaluator(
    model: keras.Model, context: StepContext, validation: Split | None
) -> Evaluator | None:
    if validation is None:
        return None
    predict = Predictor(model, validation.columns)
    return Evaluator(predict, validation, context.tasks, context.check_cancelled)
