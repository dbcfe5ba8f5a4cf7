"""One optimizer step as one graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from app.recipes.steps.recovery import Recovery
from worker.engine.loading.models import flat_outputs, packed_inputs
from worker.engine.loading.splits import Split
from worker.engine.training.gradients.optimizer import GradientQuantizingOptimizer
from worker.engine.training.interventions import Reparametrization
from worker.engine.training.lessons import Lessons
from worker.engine.training.losses import HeadLoss
from worker.engine.training.precision import computing_in
from worker.engine.training.prediction import input_signature
from worker.engine.training.zeros import HeldZeros

Array = NDArray[Any]
# Inputs, targets and teachers' answers of a batch, in the model's order -> loss.
CompiledUpdate = Callable[[Sequence[Array], Sequence[Array], Sequence[Array]], Any]
# Inputs and targets of a part of a batch -> loss, coded gradients.
Encode = Callable[[Sequence[Array], Sequence[Array]], tuple[Any, Any]]
# Coded gradients of all processes, and the share of each in the batch.
ApplyMessages = Callable[[Any, Any], None]


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
        data_loss, gradients = self._gradients(inputs, labels, answers)
        self.optimizer.apply(gradients, self.trainable_variables)
        if self.zeros:
            self.zeros.hold()
        return data_loss

    def encode(self, inputs: Sequence[Any], labels: Sequence[Any]) -> tuple[Any, Any]:
        """The first half of a step that several processes share: the loss, the coded gradients."""
        data_loss, gradients = self._gradients(inputs, labels, ())
        return data_loss, self.coding_optimizer.encode(gradients, self.trainable_variables)

    def apply_messages(self, messages: Any, weights: Any) -> None:
        """The second half: uint8, [processes, bytes]; the share of each in the batch, float32."""
        self.coding_optimizer.apply_messages(messages, weights, self.trainable_variables)
        if self.zeros:
            self.zeros.hold()

    @property
    def coding_optimizer(self) -> GradientQuantizingOptimizer:
        """The one that codes gradients; a scaled loss has it inside.

        Raises: TypeError if none does.
        """
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        found = self.optimizer.inner_optimizer if scaled else self.optimizer
        if not isinstance(found, GradientQuantizingOptimizer):
            raise TypeError(f"{type(found).__name__} codes no gradients")
        return found

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

    def _gradients(
        self, inputs: Sequence[Any], labels: Sequence[Any], answers: Sequence[Any]
    ) -> tuple[Any, list[Any]]:
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            data_loss, penalties = self._losses(inputs, labels, answers)
            total = self.optimizer.scale_loss(tf.add_n([data_loss, *penalties]))
        return data_loss, tape.gradient(total, variables)

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
    answer_signature = update.lessons.signature if update.lessons else []
    step = tf.function(
        update.__call__,
        input_signature=[input_signature(rows.columns), _signature_of(labels), answer_signature],
        autograph=False,
    )
    with computing_in(update.model, dtype):
        traced: CompiledUpdate = step.get_concrete_function()
    return traced


def compiled_halves(
    update: Update, rows: Split, labels: Sequence[Array], options: Recovery
) -> tuple[Encode, ApplyMessages]:
    """The two halves of a step that several processes share, each one graph."""
    update.optimizer.build(update.trainable_variables)
    encode = tf.function(
        update.encode,
        input_signature=[input_signature(rows.columns), _signature_of(labels)],
        autograph=False,
    )
    with computing_in(update.model, options.dtype):
        encoded: Encode = encode.get_concrete_function()
    workers = options.workers
    apply = tf.function(
        update.apply_messages,
        input_signature=[
            # Known since `encode` was traced.
            tf.TensorSpec((workers, update.coding_optimizer.message_bytes), tf.uint8),
            tf.TensorSpec((workers,), tf.float32),
        ],
        autograph=False,
    )
    applied: ApplyMessages = apply.get_concrete_function()
    return encoded, applied


def _signature_of(labels: Sequence[Array]) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None, *one.shape[1:]), tf.as_dtype(one.dtype)) for one in labels]
