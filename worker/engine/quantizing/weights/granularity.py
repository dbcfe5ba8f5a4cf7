"""Which weights share a scale: blocks of a kernel, and the weights of each side by side."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
Shape = tuple[int, ...]
Granularity = Literal["per_tensor", "per_channel", "per_group"]


def block_of(
    shape: Shape, input_axes: Sequence[int], granularity: Granularity, group_size: int
) -> Shape:
    """Edge lengths of the blocks that share a scale, one an axis.

    A channel is one place on the axes that lead over outputs, with all its inputs. A group is as
    many neighboring inputs of a channel as `group_size` has room for: the last input axis first,
    further ones where it is full.
    """
    if granularity == "per_tensor":
        return shape
    block = [1] * len(shape)
    room = group_size
    for axis in reversed(input_axes):
        edge = shape[axis] if granularity == "per_channel" else min(shape[axis], max(1, room))
        block[axis] = edge
        room //= edge
    return tuple(block)


def block_counts(shape: Shape, block: Shape) -> Shape:
    """How many blocks there are along each axis; the last of an axis may be shorter."""
    return tuple(-(-length // edge) for length, edge in zip(shape, block, strict=True))


def as_blocks(kernel: FloatArray, block: Shape) -> FloatArray:
    """[blocks, weights of one], float64; NaN where a block at the edge is shorter.

    Blocks are in the order of `block_counts`, row-major.
    """
    counts = block_counts(kernel.shape, block)
    padding = [
        (0, count * edge - length)
        for length, count, edge in zip(kernel.shape, counts, block, strict=True)
    ]
    padded = np.pad(kernel.astype(np.float64), padding, constant_values=np.nan)
    split = padded.reshape([n for pair in zip(counts, block, strict=True) for n in pair])
    rank = kernel.ndim
    order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]
    return split.transpose(order).reshape(int(np.prod(counts)), -1)


def spread(entries: NDArray[Any], block: Shape, shape: Shape) -> NDArray[Any]:
    """One entry a block -> one entry a weight, of this shape."""
    for axis, (edge, length) in enumerate(zip(block, shape, strict=True)):
        entries = np.repeat(entries, edge, axis=axis).take(np.arange(length), axis=axis)
    return entries
