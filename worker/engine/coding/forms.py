"""In which form a tensor is stored: whole numbers of a grid or palette, or its bytes.

A tensor is a flat array of bit patterns here: what comes back is the same to the last bit, NaN
payloads and negative zeros included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.coder import IntArray
from worker.engine.coding.numbers import MOST_NUMBER
from worker.engine.quantizing.levels import Codebook, Grid, Levels

Tensor = NDArray[np.generic]
Patterns = NDArray[np.unsignedinteger]
# More different values than this are no palette.
MOST_COLORS = 1024
SAMPLE = 4096
NEGATIVE_ZERO = 1 << 31


class Form(IntEnum):
    """How a tensor is stored."""

    GRID = 0
    PALETTE = 1
    PATTERNS = 2
    SPARSE = 3
    INTEGERS = 4


@dataclass(frozen=True, eq=False)
class Palette:
    """The patterns that numbers stand for.

    axis: of the channels that have colors of their own, -1 where all share them. colors: of one
    channel after another; lengths: how many each has; below: how many of those are negative.
    """

    axis: int
    colors: Patterns
    lengths: IntArray
    below: IntArray


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor in one form; only what the form needs is there.

    numbers: shaped like the tensor. scale: of a grid, an entry a block, `edges` long.
    negative_zeros: of a grid, flat, a bool for every 0.
    """

    form: Form
    patterns: Patterns
    numbers: NDArray[np.int32] | None = None
    scale: NDArray[np.float32] | None = None
    edges: tuple[int, ...] = ()
    negative_zeros: NDArray[np.bool_] | None = None
    palette: Palette | None = None


def patterns_of(tensor: Tensor) -> Patterns:
    """The bits of every number as an unsigned one, in the tensor's shape."""
    little = np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<"), copy=False)
    return little.view(np.dtype(f"<u{tensor.dtype.itemsize}")).reshape(tensor.shape)


def forms_of(tensor: Tensor, levels: Levels | None) -> Iterator[Stored]:
    """Every form that gives back this tensor exactly; what is likely to be the smallest first."""
    patterns = patterns_of(tensor)
    found = _on_grid(tensor, patterns, levels)
    if found is None and tensor.dtype.kind in "iub":
        found = _as_integers(tensor, patterns)
    if found:
        yield found
    if isinstance(levels, Codebook) and levels.channel_axis is not None:
        yield from _with_palette(patterns, levels.channel_axis)
    yield from _with_palette(patterns, None)
    if np.count_nonzero(patterns) * 8 < patterns.size * 7 and patterns.size > 8:
        yield Stored(Form.SPARSE, patterns, (patterns != 0).astype(np.int32))
    yield Stored(Form.PATTERNS, patterns)


def values_of_grid(
    numbers: NDArray[np.int32], scale: NDArray[np.float32], edges: tuple[int, ...]
) -> NDArray[np.float32]:
    """`scale * number`, computed in float32."""
    grid = Grid(scale, np.zeros(scale.shape, np.int32), 32, edges)
    return grid.values(numbers)


def _on_grid(tensor: Tensor, patterns: Patterns, levels: Levels | None) -> Stored | None:
    """Numbers count from 0, not from the zero point: what they stand for is the same."""
    if tensor.dtype != np.float32:
        return None
    grid = levels if isinstance(levels, Grid) else _guessed_grid(tensor)
    if grid is None:
        return None
    weight = tensor.astype(np.float32)
    numbers = grid.numbers(weight)
    if numbers is None or tensor.size == 0:
        return None
    steps = Grid(np.ones_like(grid.scale), grid.zero_point, grid.num_bits, grid.block)
    exact = steps.values(numbers)
    if np.abs(exact).max() > MOST_NUMBER:
        return None
    offset = exact.astype(np.int32)
    made = patterns_of(values_of_grid(offset, grid.scale, grid.block))
    is_zero = offset == 0
    if not np.array_equal(made[~is_zero], patterns[~is_zero]):
        return None
    zeros = patterns[is_zero]
    if not np.isin(zeros, (0, NEGATIVE_ZERO)).all() or made[is_zero].any():
        return None
    return Stored(
        Form.GRID,
        patterns,
        numbers=offset,
        scale=np.asarray(grid.scale, np.float32),
        edges=tuple(min(edge, n) for edge, n in zip(grid.block, weight.shape, strict=True)),
        negative_zeros=zeros == NEGATIVE_ZERO,
    )


def _guessed_grid(tensor: Tensor) -> Grid | None:
    """Even steps from the smallest size on, or a small part of it, where all lie on them."""
    sample = np.unique(np.abs(tensor.reshape(-1)[:SAMPLE]))
    if tensor.size < 2 or not np.isfinite(tensor).all() or sample.size > MOST_COLORS:
        return None
    sizes = np.unique(np.abs(tensor))
    smallest = sizes[sizes > 0][:1]
    if smallest.size == 0 or sizes.size > MOST_COLORS:
        return None
    whole = (1,) * tensor.ndim
    for part in range(1, 9):
        scale = np.full(whole, np.float32(smallest[0]) / np.float32(part), np.float32)
        grid = Grid(scale, np.zeros(whole, np.int32), 24, tensor.shape)
        if scale.any() and grid.numbers(sizes.reshape(-1, *whole[1:])) is not None:
            return grid
    return None


def _as_integers(tensor: Tensor, patterns: Patterns) -> Stored | None:
    if tensor.size == 0 or tensor.max() >= MOST_NUMBER or tensor.min() <= -MOST_NUMBER:
        return None
    return Stored(Form.INTEGERS, patterns, numbers=tensor.astype(np.int32))


def _with_palette(patterns: Patterns, axis: int | None) -> Iterator[Stored]:
    if patterns.size == 0 or np.unique(patterns.reshape(-1)[:SAMPLE]).size > MOST_COLORS:
        return
    channels = patterns.reshape(1, -1) if axis is None else np.moveaxis(patterns, axis, 0)
    found = [_numbered(channel) for channel in channels]
    if sum(colors.size for colors, _, _ in found) > max(MOST_COLORS, patterns.size // 8):
        return
    numbers = np.stack([numbers for _, numbers, _ in found])
    yield Stored(
        Form.PALETTE,
        patterns,
        numbers=numbers.reshape(patterns.shape) if axis is None else np.moveaxis(numbers, 0, axis),
        palette=Palette(
            axis=-1 if axis is None else axis,
            colors=np.concatenate([colors for colors, _, _ in found]),
            lengths=np.array([colors.size for colors, _, _ in found], np.int64),
            below=np.array([below for _, _, below in found], np.int64),
        ),
    )


def _numbered(patterns: Patterns) -> tuple[Patterns, NDArray[np.int32], int]:
    """Colors from the most negative on, numbers that are 0 for 0.0, how many are negative."""
    colors, numbers = np.unique(patterns, return_inverse=True)
    top = np.dtype(colors.dtype).type(1 << (8 * colors.dtype.itemsize - 1))
    is_negative = colors >= top
    order = np.concatenate([np.flatnonzero(is_negative)[::-1], np.flatnonzero(~is_negative)])
    rank = np.empty(order.size, np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    below = int(is_negative.sum())
    return colors[order], (rank[numbers] - below).reshape(patterns.shape), below
