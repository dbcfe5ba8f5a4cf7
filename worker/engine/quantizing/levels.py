"""The few values that a weight may take: what a step that quantizes or clusters leaves behind.

A model holds the values; levels tell how they are numbered, so that files can hold the numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from worker.engine.surgery.weights import named_weights

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.integer]
Weight = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Grid:
    """Evenly spaced values: `real = scale * (quantized - zero_point)`, computed in float32.

    scale: float32, as many axes as the weight; an entry holds for a block of `block` weights, so
        per tensor it has one entry, per channel as many as there are channels.
    zero_point: whole numbers, shaped like `scale`; all 0 where the grid is symmetric.
    num_bits: quantized values are in [-2^(num_bits - 1), 2^(num_bits - 1) - 1].
    block: edge lengths, one an axis; the last block of an axis may be shorter.
    """

    scale: FloatArray
    zero_point: IntArray
    num_bits: int
    block: tuple[int, ...]

    def values(self, numbers: IntArray) -> Weight:
        """What `numbers`, shaped like the weight, stand for."""
        shape = numbers.shape
        offset = (numbers - self._spread(self.zero_point, shape)).astype(np.float32)
        return self._spread(self.scale, shape) * offset

    def numbers(self, weight: Weight) -> IntArray | None:
        """The whole numbers of a weight; null where it is not exactly what they stand for."""
        if not self._fits(weight.shape):
            return None
        scale = self._spread(self.scale, weight.shape).astype(np.float64)
        steps = np.divide(weight, scale, out=np.zeros(weight.shape), where=scale != 0)
        limit = 1 << (self.num_bits - 1)
        numbers = np.rint(steps) + self._spread(self.zero_point, weight.shape)
        if not np.isfinite(numbers).all() or numbers.min() < -limit or numbers.max() >= limit:
            return None
        exact = numbers.astype(np.int32)
        return exact if np.array_equal(self.values(exact), weight) else None

    def scale_of(self, shape: tuple[int, ...]) -> FloatArray:
        """The scale of every weight, shaped like the weight."""
        return self._spread(self.scale, shape)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == self.scale.ndim and all(
            -(-length // edge) == count
            for length, edge, count in zip(shape, self.block, self.scale.shape, strict=True)
        )

    def _spread(self, entries: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        for axis, (edge, length) in enumerate(zip(self.block, shape, strict=True)):
            if entries.shape[axis] > 1 and edge > 1:
                entries = np.repeat(entries, edge, axis=axis)
            if entries.shape[axis] > 1:
                entries = entries.take(np.arange(length), axis=axis)
        return np.broadcast_to(entries, shape)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Shared values anywhere: one list for the whole weight, or one for each channel.

    centroids: float32, [k], or [channels, k] where `channel_axis` says which axis of the weight the
        channels are on.
    """

    centroids: FloatArray
    channel_axis: int | None = None

    def values(self, numbers: IntArray) -> Weight:
        """What `numbers`, shaped like the weight, stand for."""
        if self.channel_axis is None:
            return self.centroids[numbers]
        shape = [1] * numbers.ndim
        shape[self.channel_axis] = len(self.centroids)
        return self.centroids[np.arange(len(self.centroids)).reshape(shape), numbers]

    def numbers(self, weight: Weight) -> IntArray | None:
        """The index of each weight's centroid; null where one is not exactly a centroid."""
        if self.channel_axis is None:
            numbers = _nearest(self.centroids, weight)
            return numbers if np.array_equal(self.values(numbers), weight) else None
        if weight.shape[self.channel_axis] != len(self.centroids):
            return None
        by_channel = np.moveaxis(weight, self.channel_axis, 0)
        found = [
            _nearest(own, channel) for own, channel in zip(self.centroids, by_channel, strict=True)
        ]
        numbers = np.moveaxis(np.stack(found), 0, self.channel_axis)
        return numbers if np.array_equal(self.values(numbers), weight) else None


Levels = Grid | Codebook
# By stable weight name (surgery/weights.py).
LevelsByName = Mapping[str, Levels]


def held(levels: LevelsByName, model: keras.Model) -> dict[str, Levels]:
    """Those levels on which the weights of `model` still lie exactly."""
    weights = named_weights(model)
    return {
        name: one
        for name, one in levels.items()
        if name in weights and one.numbers(weights[name].numpy()) is not None
    }


def _nearest(centroids: FloatArray, values: Weight) -> NDArray[np.int32]:
    """The index of the nearest centroid; the lower one of two equally near."""
    order = np.argsort(centroids, kind="stable")
    ordered = centroids[order].astype(np.float64)
    between = (ordered[1:] + ordered[:-1]) / 2
    return order[np.searchsorted(between, values)].astype(np.int32)
