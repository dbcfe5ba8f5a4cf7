"""Which entries of an array stay when the lowest are dropped: alone, in groups, in blocks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating[Any]]


def keep_mask(scores: FloatArray, sparsity: float) -> BoolArray:
    """True for what is kept. Exactly round(sparsity x size) lowest scores are dropped.

    A count, not a threshold: equal scores would be dropped together and overshoot `sparsity`. Of
    equal scores those with the lowest index go first.
    """
    flat = scores.ravel()
    count = round(sparsity * flat.size)
    keep = np.ones(flat.size, np.bool_)
    if count == 0:
        return keep.reshape(scores.shape)
    last = np.partition(flat, count - 1)[count - 1]
    lower = flat < last
    keep[lower] = False
    keep[np.flatnonzero(flat == last)[: count - int(lower.sum())]] = False
    return keep.reshape(scores.shape)


def keep_n_of_m(matrix: FloatArray, n: int, m: int) -> BoolArray:
    """The n largest of every m in each column; a last group of r < m keeps ceil(n r / m)."""
    keep = np.zeros(matrix.shape, np.bool_)
    for start in range(0, matrix.shape[0], m):
        group = matrix[start : start + m]
        kept = -(-n * len(group) // m)
        # Stable, and from the largest: of equal weights those with the lowest index stay.
        order = np.argsort(-group, axis=0, kind="stable")[:kept]
        np.put_along_axis(keep[start : start + m], order, True, axis=0)
    return keep


def as_matrix(kernel: NDArray[Any], input_axes: Sequence[int]) -> NDArray[Any]:
    """The kernel as [inputs, outputs]."""
    output_axes = [axis for axis in range(kernel.ndim) if axis not in input_axes]
    outputs = int(np.prod([kernel.shape[axis] for axis in output_axes]))
    return np.transpose(kernel, (*input_axes, *output_axes)).reshape(-1, outputs)


def from_matrix(
    matrix: NDArray[Any], shape: tuple[int, ...], input_axes: Sequence[int]
) -> NDArray[Any]:
    """The inverse of `as_matrix`."""
    order = (*input_axes, *(axis for axis in range(len(shape)) if axis not in input_axes))
    moved = matrix.reshape([shape[axis] for axis in order])
    return np.transpose(moved, np.argsort(order))


def block_means(matrix: FloatArray, block_shape: tuple[int, int]) -> FloatArray:
    """Mean of every block, [row blocks, column blocks]; blocks at the edge may be smaller."""
    row_starts = np.arange(0, matrix.shape[0], block_shape[0])
    column_starts = np.arange(0, matrix.shape[1], block_shape[1])
    sums = np.add.reduceat(np.add.reduceat(matrix, row_starts, axis=0), column_starts, axis=1)
    heights = np.diff([*row_starts, matrix.shape[0]])
    widths = np.diff([*column_starts, matrix.shape[1]])
    means: FloatArray = sums / np.outer(heights, widths)
    return means


def spread_blocks(
    blocks: BoolArray, block_shape: tuple[int, int], shape: tuple[int, ...]
) -> BoolArray:
    """One value a block -> one value a weight, [inputs, outputs] = `shape`."""
    rows = np.repeat(blocks, block_shape[0], axis=0)[: shape[0]]
    return np.repeat(rows, block_shape[1], axis=1)[:, : shape[1]]
