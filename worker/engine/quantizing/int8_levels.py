"""The few values of a weight as int8: exactly those of a grid, those of a codebook rounded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.engine.quantizing.levels import Codebook, FloatArray, Grid, IntArray, Levels, Weight

LARGEST = 127


@dataclass(frozen=True, eq=False)
class Int8Levels:
    """`real = scale * numbers`: numbers like the weight, scale spreading over its shape."""

    numbers: NDArray[np.int8]
    scale: FloatArray


def as_int8(levels: Levels, weight: Weight) -> Int8Levels | None:
    """The weight's levels as symmetric int8; null where they do not fit.

    A grid fits if its numbers do, counted from its zero point. Shared values may lie anywhere: each
    becomes one int8 number, on the scale that moves them least.
    """
    numbers = levels.numbers(weight)
    if numbers is None:
        return None
    if isinstance(levels, Grid):
        return _of_grid(levels, weight)
    return _of_codebook(levels, numbers)


def with_scale_for_zeros(scale: FloatArray, is_zero: NDArray[np.bool_]) -> FloatArray:
    """The scales of channels, those of zeros alone being the largest of the others.

    Any scale holds zeros, but runtimes put biases on multiples of the scale that stands there.
    """
    largest = scale[~is_zero].max(initial=0.0)
    return np.where(is_zero, largest or 1 / LARGEST, scale).astype(scale.dtype)


def rounded_codebook(codebook: Codebook, numbers: IntArray) -> Codebook:
    """The codebook with each value on the nearest int8 number, as `as_int8` would store it."""
    if codebook.channel_axis is None:
        used = np.bincount(numbers.ravel(), minlength=len(codebook.centroids))
        scale, own = _rounded(codebook.centroids, used)
        return replace(codebook, centroids=np.float32(scale) * own.astype(np.float32))
    moved = []
    for centroids, channel in zip(
        codebook.centroids, np.moveaxis(numbers, codebook.channel_axis, 0), strict=True
    ):
        scale, own = _rounded(centroids, np.bincount(channel.ravel(), minlength=len(centroids)))
        moved.append(np.float32(scale) * own.astype(np.float32))
    return replace(codebook, centroids=np.stack(moved))


def _of_grid(grid: Grid, weight: Weight) -> Int8Levels | None:
    scale = grid.scale_of(weight.shape).astype(np.float32)
    steps = np.divide(weight, scale, out=np.zeros(weight.shape, np.float64), where=scale != 0)
    numbers = np.rint(steps)
    if np.abs(numbers).max(initial=0) > LARGEST:
        return None
    return Int8Levels(numbers.astype(np.int8), scale)


def _of_codebook(codebook: Codebook, numbers: NDArray[np.integer]) -> Int8Levels:
    if codebook.channel_axis is None:
        used = np.bincount(numbers.ravel(), minlength=len(codebook.centroids))
        scale, own = _rounded(codebook.centroids, used)
        return Int8Levels(own[numbers], np.full((1,) * numbers.ndim, scale, np.float32))
    axis = codebook.channel_axis
    channels = np.moveaxis(numbers, axis, 0)
    stored, scales = [], []
    for centroids, channel in zip(codebook.centroids, channels, strict=True):
        scale, own = _rounded(centroids, np.bincount(channel.ravel(), minlength=len(centroids)))
        stored.append(own[channel])
        scales.append(scale)
    shape = [1] * numbers.ndim
    shape[axis] = len(scales)
    laid = np.moveaxis(np.stack(stored), 0, axis)
    return Int8Levels(laid, np.asarray(scales, np.float32).reshape(shape))


def _rounded(
    centroids: FloatArray, used: Sequence[int] | NDArray[np.integer]
) -> tuple[float, NDArray[np.int8]]:
    """The scale on which values that are used that often move least, and their numbers on it.

    Only scales that put the largest value on a whole number are tried.
    """
    values = np.asarray(centroids, np.float64)
    counts = np.asarray(used, np.float64)
    largest = np.abs(values[counts > 0]).max(initial=0.0)
    if largest == 0:
        return 1.0, np.zeros(len(values), np.int8)
    scales = largest / np.arange(1, LARGEST + 1)
    numbers = np.clip(np.rint(values / scales[:, np.newaxis]), -LARGEST, LARGEST)
    moved = (counts * np.square(numbers * scales[:, np.newaxis] - values)).sum(axis=1)
    best = int(moved.argmin())
    return float(scales[best]), numbers[best].astype(np.int8)
