"""Rows of sorted numbers that are asked again and again for sums over stretches of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]
Ends = NDArray[np.int64]

# Sums are kept at every so many numbers: an eighth of the memory of the numbers themselves.
BLOCK = 16


@dataclass(frozen=True, eq=False)
class SortedRows:
    """values: [rows, n], ascending within a row's length, 0 after it. lengths: [rows]."""

    values: Floats
    lengths: Ends

    @classmethod
    def of(cls, values: Floats, is_counted: NDArray[np.bool_] | None = None) -> "SortedRows":
        """values: [rows, n], finite; those that are not counted are left out."""
        if is_counted is None:
            lengths = np.full(len(values), values.shape[1], np.int64)
            return cls(np.sort(values, axis=1), lengths)
        found = np.sort(np.where(is_counted, values, np.float32(np.inf)), axis=1)
        lengths = is_counted.sum(axis=1)
        found[np.isinf(found)] = 0
        return cls(found, lengths)

    def __len__(self) -> int:
        return len(self.values)

    def chosen(self, rows: NDArray[np.integer]) -> "SortedRows":
        """Some of the rows, by index."""
        if len(rows) == len(self):
            return self
        return SortedRows(self.values[rows], self.lengths[rows])

    def counts_up_to(self, bounds: Sums) -> Ends:
        """bounds: [rows, m]. Returns: [rows, m], how many numbers of a row are at most that."""
        low = np.zeros(bounds.shape, np.int64)
        high = np.broadcast_to(self.lengths[:, None], bounds.shape).copy()
        while (low < high).any():
            middle = (low + high) // 2
            is_below = np.take_along_axis(
                self.values, np.minimum(middle, self.values.shape[1] - 1), axis=1
            )
            moves = (is_below <= bounds) & (low < high)
            low = np.where(moves, middle + 1, low)
            high = np.where(moves, high, np.minimum(high, middle))
        return low

    def sums_up_to(self, ends: Ends) -> Sums:
        """ends: [rows, m]. Returns: [rows, m], the sum of so many first numbers of a row."""
        block, rest = np.divmod(ends, BLOCK)
        whole = np.take_along_axis(self._block_sums, block, axis=1)
        offsets = np.arange(BLOCK)
        places = np.minimum(block[..., None] * BLOCK + offsets, self.values.shape[1] - 1)
        parts = np.take_along_axis(self.values, places.reshape(len(self), -1), axis=1)
        is_within = offsets < rest[..., None]
        return whole + np.where(is_within, parts.reshape(places.shape), 0.0).sum(axis=-1)

    def at(self, ranks: Ends) -> Floats:
        """ranks: [rows, m], counted from 0. Returns: [rows, m], the numbers of these ranks."""
        found: Floats = np.take_along_axis(self.values, ranks, axis=1)
        return found

    def distinct_counts(self) -> Ends:
        """How many different numbers each row has, [rows]."""
        steps = self.values[:, 1:] != self.values[:, :-1]
        steps &= np.arange(1, self.values.shape[1]) < self.lengths[:, None]
        counts: Ends = steps.sum(axis=1) + (self.lengths > 0)
        return counts

    @cached_property
    def _block_sums(self) -> Sums:
        """Sums of all numbers before each block, [rows, blocks + 1]."""
        starts = np.arange(0, self.values.shape[1], BLOCK)
        sums = np.add.reduceat(self.values, starts, axis=1, dtype=np.float64)
        return np.concatenate([np.zeros((len(self), 1)), np.cumsum(sums, axis=1)], axis=1)
