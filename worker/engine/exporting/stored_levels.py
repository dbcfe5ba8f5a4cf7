"""Finds in a file the kernels that lie on evenly spaced values, with their whole numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from worker.engine.measuring.layers import HoldsKernels
from worker.engine.measuring.matching import find_kernel
from worker.engine.measuring.tflite_file import Tensor
from worker.engine.quantizing.int8_levels import with_scale_for_zeros
from worker.engine.quantizing.levels import Grid, LevelsByName
from worker.engine.surgery.weights import named_weights

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int8]
Numbers = npt.NDArray[Any]

# Of a channel's largest weight. The converter multiplies what it folds into a kernel by a rounded
# factor, so the products are off by a rounding or two.
ROUNDING = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class StoredNumbers:
    """One constant of a file as `real = scale * number`.

    numbers: int8, shaped like the constant. scale: float32, [1], or [channels] along `axis`.
    """

    scale: FloatArray
    axis: int | None
    numbers: IntArray


def stored_levels(
    model: keras.Model, levels: LevelsByName, file: HoldsKernels, num_bits: int
) -> Mapping[str, StoredNumbers]:
    """By name of the constant; kernels on other values, or on finer ones, are left out.

    A constant has one scale, or one a channel, and no zero point: kernels with scales for groups of
    weights and on grids without symmetry are left out too.
    """
    weights = named_weights(model)
    found: dict[str, StoredNumbers] = {}
    for name, grid in levels.items():
        if not isinstance(grid, Grid) or grid.num_bits > num_bits or grid.zero_point.any():
            continue
        kernel = np.asarray(weights[name])
        numbers = grid.numbers(kernel)
        tensor = find_kernel(kernel, file.weights) if kernel.ndim > 1 else None
        if numbers is None or tensor is None:
            continue
        stored = _as_stored(tensor, kernel, numbers, grid)
        if stored is not None:
            found[tensor.name] = stored
    return found


def _as_stored(
    tensor: Tensor, kernel: FloatArray, numbers: Numbers, grid: Grid
) -> StoredNumbers | None:
    scales = grid.values(np.ones(kernel.shape, np.int32))
    for _, steps, own in _layouts(tensor, kernel, numbers, scales):
        for axis in (None, 0, tensor.values.ndim - 1):
            scale = _scale_along(axis, tensor.values, steps, own)
            if scale is not None:
                return _with_positive_scale(scale, axis, steps, grid.num_bits)
    return None


def _with_positive_scale(
    scale: FloatArray, axis: int | None, numbers: Numbers, num_bits: int
) -> StoredNumbers | None:
    """A BatchNormalization with a negative gamma turns the signs of a channel around."""
    along = [1] * numbers.ndim
    if axis is not None:
        along[axis] = len(scale)
    turned = numbers * np.sign(scale).reshape(along)
    if turned.max() >= 1 << (num_bits - 1):
        return None
    others = None if axis is None else tuple(at for at in range(numbers.ndim) if at != axis)
    is_zero = np.atleast_1d((turned == 0).all(others))
    own = with_scale_for_zeros(np.abs(scale), is_zero)
    return StoredNumbers(own, axis, turned.astype(np.int8))


def _layouts(tensor: Tensor, *arrays: Numbers) -> Iterator[list[Numbers]]:
    """The arrays in each order of their axes that the constant may have: [..., out] or [out, ...].

    Of transposed convolutions the second last axis is that of the outputs.
    """
    for axis in (None, -1, -2):
        turned = [array if axis is None else np.moveaxis(array, axis, 0) for array in arrays]
        lengths = [length for length in turned[0].shape if length > 1]
        if axis is None or lengths == [length for length in tensor.shape if length > 1]:
            yield [array.reshape(tensor.shape) for array in turned]


def _scale_along(
    axis: int | None, stored: FloatArray, numbers: Numbers, scales: FloatArray
) -> FloatArray | None:
    """One scale a channel with which the numbers are what is stored; null if there is none.

    That is the grid's own, or its own times what the converter folded into the kernel.
    """
    channels = 1 if axis is None else stored.shape[axis]
    by_channel = [
        array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(channels, -1)
        for array in (stored, numbers, scales)
    ]
    values, steps, own = by_channel
    if (own == own[:, :1]).all() and np.array_equal(own * steps.astype(np.float32), values):
        return own[:, 0].astype(np.float32)
    largest = np.abs(steps).argmax(axis=1)[:, None]
    top = np.take_along_axis(steps, largest, axis=1)[:, 0]
    held = np.take_along_axis(values, largest, axis=1)[:, 0].astype(np.float64)
    scale = np.where(top == 0, own[:, 0], held / np.where(top == 0, 1, top)).astype(np.float32)
    off = np.abs(scale[:, None] * steps.astype(np.float32) - values).max(axis=1)
    is_held = off <= ROUNDING * np.abs(values).max(axis=1)
    return scale if is_held.all() and (scale != 0).all() else None
