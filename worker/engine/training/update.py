"""One optimizer step as one graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from worker.engine.loading.models import flat_outputs, packed_inputs
from worker.engine.loading.splits import Split
from worker.engine.training.interventions import Reparametrization
from worker.engine.training.lessons import Lessons
from worker.engine.training.losses import HeadLoss
from worker.engine.training.precision import computing_in
from worker.engine.training.prediction import input_signature
from worker.engine.training.zeros import HeldZeros

Array = NDArray[Any]
# Inputs, targets and teachers' answers of a batch, in the model's order -> loss.
CompiledUpdate = Callable[[Sequence[Array], Sequence[Array], Sequence[Array]], Any]


@dataclass(frozen=True)
class Update:
    """Forward, backward, update, zeros: one graph. Returns the data loss before the update."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    losses: tuple[HeadLoss, ...]
    zeros: HeldZeros | None
    lessons: Lessons | None
    reparametrization: Reparametrization | None = None

    def __call__(self, inputs: Sequence[Any], labels: Sequence[Any], answers: Sequence[Any]) -> Any:
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            data_loss, penalties = self._losses(inputs, labels, answers)
            total = self.optimizer.scale_loss(tf.add_n([data_loss, *penalties]))
        self.optimizer.apply(tape.gradient(total, variables), variables)
        if self.zeros:
            self.zeros.hold()
        return data_loss

    @property
    def trainable_variables(self) -> list[Any]:
        computed = self.reparametrization.replaced if self.reparametrization else []
        taken = {id(variable) for variable in computed}
        own = [one for one in self.model.trainable_variables if id(one) not in taken]
        trained = self.reparametrization.trained if self.reparametrization else []
        return [*own, *trained, *self._projections]

    @property
    def reparametrized(self) -> list[Any]:
        """What the model's computed weights come from."""
        if self.reparametrization is None:
            return []
        return [*self.reparametrization.trained, *self.reparametrization.state]

    @property
    def variables_beside(self) -> list[Any]:
        """What a training changes and the model does not hold; built with the optimizer."""
        self.optimizer.build(self.trainable_variables)
        return [*self.reparametrized, *self._projections, *self.optimizer.variables]

    @property
    def _projections(self) -> list[Any]:
        return self.lessons.trainable_variables if self.lessons else []

    def _losses(
        self, inputs: Sequence[Any], labels: Sequence[Any], answers: Sequence[Any]
    ) -> tuple[Any, list[Any]]:
        """The loss of the data, and what layers and the reparametrization add to it."""
        computed = self.reparametrization
        if computed is None:
            return self._data_loss(inputs, labels, answers), _as_float32(self.model.losses)
        scope = keras.StatelessScope(computed.values(), collect_losses=True)
        with scope:
            data_loss = self._data_loss(inputs, labels, answers)
            penalties = _as_float32(self.model.losses)
        # Moving statistics and states of random layers, which the scope kept from being written.
        for variable in self.model.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not None:
                variable.assign(value)
        return data_loss, [*penalties, computed.penalty()]

    def _data_loss(
        self, inputs: Sequence[Any], labels: Sequence[Any], answers: Sequence[Any]
    ) -> Any:
        runner = self.lessons.runner(self.model) if self.lessons else self.model
        outputs = flat_outputs(runner(packed_inputs(runner, inputs), training=True))
        parts = [
            loss(y, output) for loss, y, output in zip(self.losses, labels, outputs, strict=False)
        ]
        hard = tf.add_n([tf.cast(part, tf.float32) for part in parts])
        return self.lessons.loss(hard, outputs, inputs, answers) if self.lessons else hard


def _as_float32(values: Sequence[Any]) -> list[Any]:
    return [tf.cast(value, tf.float32) for value in values]


def compiled(update: Update, rows: Split, labels: Sequence[Array], dtype: str) -> CompiledUpdate:
    """One trace for every batch of these rows, with layers computing in `dtype`."""
    update.optimizer.build(update.trainable_variables)
    label_signature = [
        tf.TensorSpec((None, *values.shape[1:]), tf.as_dtype(values.dtype)) for values in labels
    ]
    answer_signature = update.lessons.signature if update.lessons else []
    step = tf.function(
        update.__call__,
        input_signature=[input_signature(rows.columns), label_signature, answer_signature],
        autograph=False,
    )
    with computing_in(update.model, dtype):
        traced: CompiledUpdate = step.get_concrete_function()
    return traced
