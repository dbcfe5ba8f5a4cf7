"""Constants of tflite files that are stored in fewer bytes than their shape says."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

Array = npt.NDArray[Any]
LOW_NIBBLE, SIGN = 0x0F, 0x08


@dataclass(frozen=True, eq=False)
class Level:
    """One axis of a sparse constant: all `size` entries, or those from segment to segment.

    Entries of the axis that belong to position p of the axes before are
    `indices[segments[p] : segments[p + 1]]`; both are null where the axis is dense.
    """

    size: int
    segments: Array | None
    indices: Array | None


@dataclass(frozen=True, eq=False)
class Sparsity:
    """How a sparse constant's values lie (TACO; Kjolstad et al. 2017, doi:10.1145/3133901).

    order: which axis each level is; from the rank on, they are blocks inside axes of `block_map`.
    """

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[Level, ...]


def read_sparsity(table: Any) -> Sparsity | None:
    """The tensor's own table; null for a dense one."""
    if table is None:
        return None
    read = schema.SparsityParametersT.InitFromObj(table)
    return Sparsity(
        order=_numbers(read.traversalOrder),
        block_map=_numbers(read.blockMap),
        levels=tuple(_level(one) for one in read.dimMetadata),
    )


def unpacked_int4(raw: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int8]:
    """Two numbers a byte, the first in the low half."""
    halves = np.stack([raw & LOW_NIBBLE, raw >> 4], axis=1).reshape(-1)[:count]
    return ((halves ^ SIGN).astype(np.int8) - SIGN).astype(np.int8)


def dense(values: Array, shape: tuple[int, ...], sparsity: Sparsity) -> Array:
    """The constant with its zeros, [*shape]. values: the stored ones, in order of the levels.

    Raises: ValueError or IndexError where the levels lead to no place in `shape` or `values`.
    """
    positions = np.zeros(1, np.int64)
    axes: list[Array] = []
    for level in sparsity.levels:
        parents, entries, positions = _descend(level, positions, math.prod(shape))
        axes = [axis[parents] for axis in axes] + [entries]
    rank = len(shape)
    blocks = {
        sparsity.block_map[axis - rank]: sparsity.levels[at].size
        for at, axis in enumerate(sparsity.order)
        if axis >= rank
    }
    places = [np.zeros(len(positions), np.int64) for _ in shape]
    for axis, entries in zip(sparsity.order, axes, strict=True):
        if axis < rank:
            places[axis] += entries * blocks.get(axis, 1)
        else:
            places[sparsity.block_map[axis - rank]] += entries
    full = np.zeros(shape, values.dtype)
    full[tuple(places)] = values[positions]
    return full


def _descend(level: Level, positions: Array, most: int) -> tuple[Array, Array, Array]:
    """From positions of the axes before to those of this one, at most `most` of them.

    Returns: of each entry, which of `positions` it belongs to; its place on the axis; its position.
    Raises: ValueError.
    """
    if level.segments is None or level.indices is None:
        _check_count(len(positions) * level.size, most)
        parents = np.repeat(np.arange(len(positions)), level.size)
        entries = np.tile(np.arange(level.size), len(positions))
        return parents, entries, positions[parents] * level.size + entries
    starts, ends = level.segments[positions], level.segments[positions + 1]
    _check_count(int(np.maximum(ends - starts, 0).sum()), most)
    parents = np.repeat(np.arange(len(positions)), ends - starts)
    before = np.cumsum(ends - starts) - (ends - starts)
    made = np.arange(len(parents)) - before[parents] + starts[parents]
    return parents, level.indices[made], made


def _check_count(count: int, most: int) -> None:
    """A file from outside may ask for any number."""
    if count > most:
        raise ValueError(f"a sparse constant of {most} values has {count} places")


def _level(read: Any) -> Level:
    if read.format == schema.DimensionType.DENSE:
        return Level(int(read.denseSize), None, None)
    segments, indices = read.arraySegments.values, read.arrayIndices.values
    return Level(0, np.asarray(segments, np.int64), np.asarray(indices, np.int64))


def _numbers(read: Any) -> tuple[int, ...]:
    return () if read is None else tuple(int(number) for number in read)
