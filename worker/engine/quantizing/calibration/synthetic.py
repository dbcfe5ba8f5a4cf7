"""Inputs made up to fit a model: its BatchNormalization layers see what they saw in training."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.errors import StepFailed
from app.recipes.keras.graph import Ref
from worker.engine.quantizing.calibration.watching import WatchedModel
from worker.engine.surgery.wiring import Level, Structure

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

ROWS_AT_ONCE = 32
ITERATIONS = 200
LEARNING_RATE = 0.1
# What is off by a hundredth of a deviation says nothing any more.
CLOSE_ENOUGH = 1e-4
# A channel that hardly varied in training would outweigh all others.
LEAST_VARIANCE = 1e-3


class Synthetic(NamedTuple):
    """Inputs by name, [rows, ...] each, and how far statistics were off at first and in the end."""

    rows: dict[str, Array]
    distance_before: float
    distance_after: float


def synthetic_rows(
    model: keras.Model, shapes: Shapes, count: int, seed: int, tell: Callable[[float], None]
) -> Synthetic:
    """Inputs of which means and deviations inside the model match those of its BatchNormalizations.

    Cai et al. 2020 (ZeroQ), arXiv:2001.00281, equation 1, with each difference in units of the
    channel's own deviation: otherwise wide channels alone would count. Noise is moved by Adam.

    shapes: by input in the model's order, without the row axis. `tell` hears of progress, in
    [0, 1], and may raise to end the work.
    Raises: StepFailed for a model without BatchNormalization.
    """
    matching = _Matching(model, shapes)
    rng = np.random.default_rng(seed)
    found: list[list[Array]] = []
    distances: list[tuple[float, float, int]] = []
    for first in range(0, count, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, count - first)
        noise = [rng.standard_normal((size, *shape)).astype("float32") for shape in shapes.values()]
        batch, before, after = matching.matched(noise)
        found.append(batch)
        distances.append((before, after, size))
        tell((first + size) / count)
    before, after, _ = np.average(distances, axis=0, weights=[size for *_, size in distances])
    columns = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return Synthetic(dict(zip(shapes, columns, strict=True)), float(before), float(after))


class _Matching:
    """Moves noise until BatchNormalization layers see the statistics they hold."""

    def __init__(self, model: keras.Model, shapes: Shapes) -> None:
        self._watched = WatchedModel(model)
        self._readers = _normalizations(model)
        if not self._readers:
            raise StepFailed(
                "synthetic inputs are matched to the statistics of BatchNormalization layers, and "
                "the model has none",
                hint="Give a data set and use calibration_data 'training'.",
            )
        self._spread = [_spread(model, index) for index in range(len(shapes))]
        signature = [tf.TensorSpec((None, *shape), tf.float32) for shape in shapes.values()]
        self._step = tf.function(self._gradients, input_signature=[signature], autograph=False)

    def matched(self, noise: Sequence[Array]) -> tuple[list[Array], float, float]:
        """The inputs that noise became, and the distances before and after."""
        moved = [keras.Variable(part) for part in noise]
        optimizer = keras.optimizers.Adam(LEARNING_RATE)
        distances: list[float] = []
        for iteration in range(ITERATIONS):
            # Down to a tenth, so that the end does not swing around the optimum.
            optimizer.learning_rate = LEARNING_RATE * 0.1 ** (iteration / ITERATIONS)
            distance, gradients = self._step([part.value for part in moved])
            optimizer.apply(gradients, moved)
            distances.append(float(distance))
            if distances[-1] < CLOSE_ENOUGH:
                break
        inputs = self._inputs([part.value for part in moved])
        return [tensor.numpy() for tensor in inputs], distances[0], distances[-1]

    def _gradients(self, noise: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(noise)
            distance = self._distance(self._inputs(noise))
        return distance, tape.gradient(
            distance, noise, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    def _inputs(self, noise: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        pairs = zip(noise, self._spread, strict=True)
        return [part * deviation + mean for part, (mean, deviation) in pairs]

    def _distance(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """The mean over all channels of all layers."""
        differences = _Differences(self._readers)
        self._watched.run(inputs, differences.watch)
        return tf.reduce_mean(tf.concat(differences.found, axis=0))


class _Differences:
    """Hears of tensors and collects what is off in those that are normalized, by channel."""

    def __init__(self, readers: "_Readers") -> None:
        self.found: list[tf.Tensor] = []
        self._readers = readers

    def watch(self, level: Level, ref: Ref, value: Any) -> None:
        for layer in self._readers.get((level.path, ref), ()):
            axes = [
                axis for axis in range(len(value.shape)) if axis != layer.axis % len(value.shape)
            ]
            mean, variance = tf.nn.moments(value, axes)
            true = tf.convert_to_tensor(layer.moving_variance) + LEAST_VARIANCE
            off = (mean - layer.moving_mean) ** 2 / true
            ratio = tf.sqrt((variance + LEAST_VARIANCE) / true)
            self.found.append(off + (ratio - 1) ** 2)


_Readers = Mapping[tuple[str, Ref], Sequence[keras.layers.BatchNormalization]]


def _normalizations(model: keras.Model) -> _Readers:
    """By the tensor that is normalized."""
    found: dict[tuple[str, Ref], list[keras.layers.BatchNormalization]] = defaultdict(list)
    for level in Structure.of(model).levels:
        for (name, _), fed in level.wiring.calls.items():
            if isinstance(level.operations[name], keras.layers.BatchNormalization):
                found[level.path, fed[0]].append(level.operations[name])
    return found


def _spread(model: keras.Model, index: int) -> tuple[Array, Array]:
    """Mean and deviation of an input whose scaled values are standard normal.

    What a Normalization was adapted to is known; what is rescaled is taken to be normal after it.
    """
    wiring, operations = (level := Structure.of(model).levels[0]).wiring, level.operations
    readers = wiring.readers.get(wiring.inputs[index], ())
    reader = operations[readers[0][0]] if readers else None
    if isinstance(reader, keras.layers.Normalization) and not reader.invert:
        return np.asarray(reader.mean), np.sqrt(np.asarray(reader.variance))
    if isinstance(reader, keras.layers.Rescaling):
        scale = np.asarray(reader.scale, np.float32)
        return -np.asarray(reader.offset, np.float32) / scale, 1 / np.abs(scale)
    return np.zeros((), np.float32), np.ones((), np.float32)
