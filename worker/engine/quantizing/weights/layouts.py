"""Kernels as matrices, and what a layer is given as the vectors that they are multiplied with.

Every product of a kernel is y = W^T x for a matrix W, [inputs, outputs], and a vector x; a grouped
or depthwise convolution has one matrix for each group of channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Axes = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a kernel is read as [groups, inputs, outputs].

    shape: of the kernel, with an axis split in two where groups lie within it. Each of its axes is
    in one of `groups`, `inputs`, `outputs`.
    """

    shape: Shape
    groups: Axes
    inputs: Axes
    outputs: Axes

    def matrices(self, kernel: Array) -> Array:
        """[groups, inputs, outputs]."""
        moved = kernel.reshape(self.shape).transpose(self._order)
        return moved.reshape(*(self._count(axes) for axes in self._parts))

    def kernel(self, matrices: Array, shape: Shape) -> Array:
        """The inverse of `matrices`; `shape` is that of the kernel."""
        moved = matrices.reshape([self.shape[axis] for axis in self._order])
        return moved.transpose(np.argsort(self._order)).reshape(shape)

    @property
    def input_count(self) -> int:
        return self._count(self.inputs)

    @property
    def _parts(self) -> tuple[Axes, Axes, Axes]:
        return self.groups, self.inputs, self.outputs

    @property
    def _order(self) -> Axes:
        return *self.groups, *self.inputs, *self.outputs

    def _count(self, axes: Axes) -> int:
        return math.prod(self.shape[axis] for axis in axes)


def dense_layout(shape: Shape) -> Layout:
    """[..., in, out], as of dense layers and plain convolutions."""
    last = len(shape) - 1
    return Layout(shape, (), tuple(range(last)), (last,))


def grouped_layout(shape: Shape, groups: int) -> Layout:
    """[..., in / groups, out]: the outputs of a group lie side by side."""
    last = len(shape) - 1
    split = (*shape[:-1], groups, shape[-1] // groups)
    return Layout(split, (last,), tuple(range(last)), (last + 1,))


def depthwise_layout(shape: Shape) -> Layout:
    """[..., in, multiplier]: a group for every input channel."""
    last = len(shape) - 1
    return Layout(shape, (last - 1,), tuple(range(last - 1)), (last,))


def tapwise_layout(shape: Shape) -> Layout:
    """[..., out, in] of a transposed convolution: each place of the window by itself.

    Where windows overlap, an output sums several places; what they share is left out of account.
    """
    last = len(shape) - 1
    return Layout(shape, tuple(range(last - 1)), (last,), (last - 1,))


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input; one entry for each spatial axis."""

    size: Shape
    strides: Shape
    dilation: Shape
    padding: str

    def output_lengths(self, lengths: Sequence[int]) -> Shape:
        before = self._margins(lengths)
        return tuple(
            (length + sum(margin) - reach) // stride + 1
            for length, margin, reach, stride in zip(
                lengths, before, self._reaches, self.strides, strict=True
            )
        )

    def padded(self, given: Array) -> Array:
        """given: [rows, *lengths, channels], with zeros where the window goes beyond it."""
        margins = self._margins(given.shape[1:-1])
        return np.pad(given, [(0, 0), *margins, (0, 0)])

    @property
    def _reaches(self) -> Shape:
        """How far a window reaches, gaps included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def _margins(self, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """Zeros before and after: `same` as TensorFlow does it, the larger half behind."""
        return [
            self._margin(length, reach, stride)
            for length, reach, stride in zip(lengths, self._reaches, self.strides, strict=True)
        ]

    def _margin(self, length: int, reach: int, stride: int) -> tuple[int, int]:
        if self.padding == "causal":
            return reach - 1, 0
        if self.padding == "valid":
            return 0, 0
        total = max(0, (-(-length // stride) - 1) * stride + reach - length)
        return total // 2, total - total // 2


def patches(given: Array, window: Window, positions: NDArray[np.intp]) -> Array:
    """What the window sees at chosen places: [positions, *window, channels].

    given: [rows, *lengths, channels]. positions: indices into [rows, *output lengths], flat.
    """
    outputs = (len(given), *window.output_lengths(given.shape[1:-1]))
    padded = window.padded(given)
    row, *places = np.unravel_index(positions, outputs)
    rank = len(places)
    indices = [row.reshape(-1, *[1] * rank)]
    for axis, place in enumerate(places):
        taps = np.arange(window.size[axis]) * window.dilation[axis]
        along = [1] * (rank + 1)
        along[axis + 1] = window.size[axis]
        start = (place * window.strides[axis]).reshape(-1, *[1] * rank)
        indices.append(start + taps.reshape(along))
    return padded[tuple(indices)]
