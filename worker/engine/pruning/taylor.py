"""First-order Taylor importance: what the loss would change without a unit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.recipes.steps.recovery import Loss
from worker.engine.context import StepContext
from worker.engine.loading.models import flat_outputs, packed_inputs
from worker.engine.loading.splits import IntArray, Split
from worker.engine.pruning.importance import FloatArray, unit_sums
from worker.engine.surgery.channels.groups import ChannelGroup
from worker.engine.surgery.weights import named_weights
from worker.engine.training.losses import HeadLoss
from worker.engine.training.prediction import input_signature
from worker.engine.training.targets import targets

Array = NDArray[Any]

BATCH_SIZE = 64


@dataclass(frozen=True)
class Sample:
    """Rows with labels that may be looked at, how many batches of them at most, and the loss."""

    rows: Split
    batches: int
    loss: Loss


def squared_changes(
    model: keras.Model, groups: Sequence[ChannelGroup], context: StepContext, sample: Sample
) -> dict[str, FloatArray]:
    """Mean over batches of the squared first-order change of the loss without a unit: [units].

    (sum of w * dL/dw)^2 over a unit's weights, Molchanov et al. 2019 (arXiv:1906.10771, equation
    8), at inference. The weights are those that *read* the unit: at zero they are what its removal
    is, and the sum is that of its activations times their gradients. (With a kernel of zeros before
    it, a BatchNormalization still gives a constant.)
    Raises: Cancelled.
    """
    sums = {group.name: np.zeros(group.count) for group in groups}
    names = sorted({weight for group in groups for weight, _, _ in reading(group)})
    weights = named_weights(model)
    labels = [targets(task, sample.rows.labels[task.output]) for task in context.tasks]
    products = _compiled(
        _Products(
            model,
            [weights[name].value for name in names],
            [HeadLoss(task, sample.loss) for task in context.tasks],
        ),
        sample,
        labels,
    )
    batches = list(_positions(sample, context.seed))
    for number, positions in enumerate(batches, 1):
        context.check_cancelled()
        inputs = list(sample.rows.fed(positions).values())
        found = products(inputs, [values[positions] for values in labels])
        by_name = {name: one.numpy() for name, one in zip(names, found, strict=True)}
        for group in groups:
            sums[group.name] += np.square(_change(group, by_name))
        context.report_progress(0.0, f"importance: batch {number} of {len(batches)}")
    return {name: squares / len(batches) for name, squares in sums.items()}


def reading(group: ChannelGroup) -> Iterator[tuple[str, int, IntArray]]:
    """Weight, axis and units of each kernel that sums over the group's channels.

    The depthwise half of a separable convolution is left out: its pointwise half reads the same.
    """
    for part in group.slices:
        if part.role == "input" and not part.weight.endswith("depthwise_kernel"):
            yield part.weight, part.axis, part.units


def _change(group: ChannelGroup, products: Mapping[str, Array]) -> FloatArray:
    change = np.zeros(group.count)
    for weight, axis, units in reading(group):
        change += unit_sums(products[weight], axis, units, group.count)
    return change


def _positions(sample: Sample, seed: int) -> Iterator[IntArray]:
    """Positions of the rows of each batch, in a random order."""
    order = np.random.default_rng(seed).permutation(len(sample.rows))
    for start in range(0, min(len(order), sample.batches * BATCH_SIZE), BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


@dataclass(frozen=True, eq=False, repr=False)
class _Products:
    """Each weight times its gradient, for one batch; traceable."""

    model: keras.Model
    weights: Sequence[Any]
    losses: Sequence[HeadLoss]

    def __call__(self, inputs: Sequence[Any], labels: Sequence[Any]) -> list[Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.weights)
            outputs = flat_outputs(self.model(packed_inputs(self.model, inputs), training=False))
            parts = [
                tf.cast(loss(y, output), tf.float32)
                for loss, y, output in zip(self.losses, labels, outputs, strict=True)
            ]
            together = tf.add_n(parts)
        gradients = tape.gradient(together, self.weights, unconnected_gradients="zero")
        return [
            tf.cast(weight * slope, tf.float32)
            for weight, slope in zip(self.weights, gradients, strict=True)
        ]


def _compiled(products: _Products, sample: Sample, labels: Sequence[Array]) -> Any:
    label_signature = [
        tf.TensorSpec((None, *values.shape[1:]), tf.as_dtype(values.dtype)) for values in labels
    ]
    return tf.function(
        products.__call__,
        input_signature=[input_signature(sample.rows.columns), label_signature],
        autograph=False,
    )
