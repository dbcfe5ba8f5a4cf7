"""Weights that are rounded to integers in every step of a training, by way of unrounded ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from worker.engine.context import Masks
from worker.engine.quantizing.levels import FloatArray, Grid
from worker.engine.surgery.kernels import Kernel

Method = Literal["straight_through", "lsq"]

# Shares of the largest weight that a grid of few values may end at; the best one is kept.
# In equal ratios below a fifth: an outlier may be a hundred times what else there is.
ENDS = np.concatenate([np.geomspace(0.005, 0.2, 31)[:-1], np.linspace(0.2, 1.0, 33)])
# A channel that is nearly zero has no scale of its own: its bias would need too large integers.
LEAST_SCALE = 1e-3


@dataclass(frozen=True, eq=False)
class Rounded:
    """One kernel on its way: `shadow` is trained, the model gets it rounded.

    axes: those that one scale holds for. ends: at which share of the largest weight the grid ends.
    start: the scale as the training starts, which leaves the smallest squared error. factor: by
    what a learned scale is larger than that; null where the scale follows the largest weight. Its
    gradient is such that plain SGD moves the scale as Esser et al. do; an optimizer whose steps
    have a size of their own (Adam) moves it in proportion to itself, whatever the gradient's size.
    keep: where the weight may be other than 0; null = everywhere.
    """

    name: str
    weight: keras.Variable
    shadow: keras.Variable
    axes: tuple[int, ...]
    num_bits: int
    ends: FloatArray
    start: FloatArray
    factor: keras.Variable | None
    keep: tf.Tensor | None

    @property
    def limit(self) -> int:
        return int(2 ** (self.num_bits - 1) - 1)

    def value(self) -> tf.Tensor:
        """The rounded weight; traceable and differentiable.

        Rounding has the gradient 1, and 0 beyond the ends of the grid (Jacob et al. 2018; Esser et
        al. 2020, equations 1 to 5, where the scale is trained too).
        """
        scale, shadow = self._scale(), self._held()
        steps = tf.clip_by_value(shadow / scale, -self.limit, self.limit)
        return scale * (steps + tf.stop_gradient(tf.round(steps) - steps))

    def grid(self) -> Grid:
        """Where the weight lies now."""
        scale = np.asarray(self._scale(), np.float32)
        shape = tuple(self.weight.shape)
        block = tuple(length if axis in self.axes else 1 for axis, length in enumerate(shape))
        return Grid(scale, np.zeros(scale.shape, np.int64), self.num_bits, block)

    def settled(self) -> FloatArray:
        """The weight exactly on its grid."""
        grid = self.grid()
        steps = np.asarray(self._held()) / grid.scale
        numbers = np.rint(np.clip(steps, -self.limit, self.limit)).astype(np.int64)
        return grid.values(numbers)

    def _held(self) -> tf.Tensor:
        shadow = tf.convert_to_tensor(self.shadow)
        return shadow if self.keep is None else tf.where(self.keep, shadow, 0.0)

    def _scale(self) -> tf.Tensor:
        if self.factor is None:
            largest = tf.reduce_max(tf.abs(self._held()), self.axes, keepdims=True)
            scale = tf.stop_gradient(largest) * self.ends / self.limit
        else:
            factor = tf.convert_to_tensor(self.factor)
            scale = self.start * tf.abs(_scaled_gradient(factor, self._gradient_scale))
        return tf.maximum(scale, tf.maximum(tf.reduce_max(scale) * LEAST_SCALE, 1e-8))

    @property
    def _gradient_scale(self) -> FloatArray:
        """1 / sqrt(weights of a scale x limit), section 2.2 of Esser et al.: steps as weights.

        Over start^2: for the scale is start x factor, and so is each of its steps.
        """
        count = np.prod([self.weight.shape[axis] for axis in self.axes])
        square = np.square(self.start, dtype=np.float64)
        share = np.divide(1 / np.sqrt(count * self.limit), square, where=square > 0, out=square)
        return np.asarray(share, np.float32)


class RoundedWeights:
    """Trains kernels through their rounding: a `Reparametrization` (training/interventions.py)."""

    def __init__(self, rounded: Sequence[Rounded]) -> None:
        self._rounded = tuple(rounded)

    @property
    def replaced(self) -> list[keras.Variable]:
        return [one.weight for one in self._rounded]

    @property
    def trained(self) -> list[keras.Variable]:
        own = [one for one in self._rounded if one.weight.trainable]
        factors = [one.factor for one in own if one.factor is not None]
        return [*(one.shadow for one in own), *factors]

    @property
    def state(self) -> list[keras.Variable]:
        return []

    def values(self) -> list[tuple[keras.Variable, Any]]:
        return [(one.weight, one.value()) for one in self._rounded]

    def penalty(self) -> Any:
        return tf.zeros(())

    def settle(self) -> None:
        for one in self._rounded:
            one.weight.assign(one.settled())

    def fingerprint(self) -> str:
        said = ((one.name, one.num_bits, one.axes, one.factor is None) for one in self._rounded)
        return f"rounded weights: {list(said)}"

    def grids(self) -> dict[str, Grid]:
        """Where the weights lie now, by stable weight name."""
        return {one.name: one.grid() for one in self._rounded}


def rounded(
    kernel: Kernel, *, num_bits: int, per_channel: bool, method: Method, masks: Masks
) -> Rounded:
    """A kernel as it is when its training starts; zeros of its mask stay."""
    variable = kernel.variable
    values = variable.numpy()
    axes = kernel.input_axes if per_channel else tuple(range(values.ndim))
    mask = masks.get(kernel.name)
    ends = _best_ends(values, axes, num_bits)
    largest = np.abs(values).max(axes, keepdims=True)
    start = (largest * ends / (2 ** (num_bits - 1) - 1)).astype(np.float32)
    factor = None
    if method == "lsq":
        factor = keras.Variable(np.ones(start.shape, np.float32), name="factor")
    return Rounded(
        name=kernel.name,
        weight=variable,
        shadow=keras.Variable(values, name="shadow"),
        axes=axes,
        num_bits=num_bits,
        ends=ends,
        start=start,
        factor=factor,
        keep=None if mask is None else tf.constant(np.asarray(mask)),
    )


def _best_ends(values: FloatArray, axes: tuple[int, ...], num_bits: int) -> FloatArray:
    """At which share of its largest weight each grid rounds with the smallest squared error."""
    limit = 2 ** (num_bits - 1) - 1
    largest = np.maximum(np.abs(values).max(axes, keepdims=True), 1e-12)
    errors = []
    for share in ENDS:
        scale = largest * share / limit
        on_grid = np.clip(np.rint(values / scale), -limit, limit) * scale
        errors.append(np.square(on_grid - values).sum(axes, keepdims=True))
    best: NDArray[np.float32] = ENDS[np.argmin(errors, axis=0)].astype(np.float32)
    return best


def _scaled_gradient(value: tf.Tensor, factor: FloatArray) -> tf.Tensor:
    """The value, with its gradient times `factor`."""
    fixed = tf.stop_gradient(value)
    return fixed + (value - fixed) * factor
