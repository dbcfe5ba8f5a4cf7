"""How often values occur, counted batch by batch in memory that does not grow; pure numpy."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
CountArray = NDArray[np.int64]

BINS_AN_OCTAVE = 2048
OCTAVES = 16
# What values below it are is lost in any float32 sum with others.
SMALLEST_LIMIT = 2.0**-100
# A later batch changes an average range by a tenth (Jacob et al. 2018, section 3.1, names no rate).
AVERAGE_RATE = 0.1


class Histogram:
    """Counts in bins from -limit to limit that get finer toward an edge at zero.

    Between limit and limit / 2 there are as many bins of equal width as between that and limit / 4,
    and so on; the last octave reaches to zero. One value far out so leaves fine bins to the others.
    `limit` is a power of two; a larger value doubles it as often as needed. Then the last two
    octaves become one, of pairs of their bins, so that no count is lost. Exact zeros are counted
    apart: after a relu they are half of all values, and every range that is used here holds a zero
    exactly.
    """

    def __init__(self, bins: int = BINS_AN_OCTAVE, octaves: int = OCTAVES) -> None:
        self.limit = SMALLEST_LIMIT
        self.zeros = 0
        self.low = math.inf
        self.high = -math.inf
        self.average_low = 0.0
        self.average_high = 0.0
        # Values below zero, then above it; octaves and their bins rising from zero.
        self._counts: CountArray = np.zeros((2, octaves, bins), np.int64)

    def add(self, values: FloatArray) -> None:
        """Count one batch of finite values; any shape, at least one of them."""
        low, high = float(values.min()), float(values.max())
        if self.low > self.high:
            self.average_low, self.average_high = low, high
        self.average_low += AVERAGE_RATE * (low - self.average_low)
        self.average_high += AVERAGE_RATE * (high - self.average_high)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        others = values[values != 0]
        self.zeros += values.size - others.size
        place = self._places(np.abs(others.astype(np.float64))) + (others > 0) * self._side
        self._counts += np.bincount(place, minlength=2 * self._side).reshape(self._counts.shape)

    @property
    def total(self) -> int:
        """All values that were counted."""
        return self.zeros + int(self._counts.sum())

    @property
    def memory_bytes(self) -> int:
        """Of all counts."""
        return self._counts.nbytes

    def filled(self) -> tuple[FloatArray, CountArray]:
        """Centers of the bins that are not empty, rising, and their counts; without exact zeros."""
        starts, widths, counts = self._rising()
        is_filled = counts > 0
        return (starts + widths / 2)[is_filled], counts[is_filled]

    def filled_widths(self) -> FloatArray:
        """Of the bins of `filled`."""
        _, widths, counts = self._rising()
        return widths[counts > 0]

    def mean_magnitude(self) -> float:
        """Of what is not zero; 0 where nothing is."""
        values, counts = self.filled()
        return float(counts @ np.abs(values)) / max(1, int(counts.sum()))

    def width_at(self, magnitude: float) -> float:
        """Of the bins that end there; those nearer to zero divide it evenly."""
        octave = math.ceil(math.log2(max(magnitude, self._finest) / self._finest))
        return self._finest * 2.0 ** max(0, octave - 1) / self._counts.shape[2]

    def quantile(self, share: float) -> float:
        """The value that `share` of all values do not exceed, to the width of a bin."""
        starts, widths, counts = self._rising()
        # The zeros are a bin without width between those of both sides.
        starts, widths = (np.insert(part, self._side, 0.0) for part in (starts, widths))
        counts = np.insert(counts, self._side, self.zeros)
        ends = np.cumsum(counts)
        place = int(np.searchsorted(ends, share * ends[-1]))
        into = share * ends[-1] - (ends[place] - counts[place])
        value = starts[place] + widths[place] * into / max(1, counts[place])
        return float(min(max(value, self.low), self.high))

    @property
    def _side(self) -> int:
        return self._counts[0].size

    @property
    def _finest(self) -> float:
        """Where the octave that reaches to zero ends."""
        return self.limit * 2.0 ** (1 - self._counts.shape[1])

    def _places(self, magnitudes: FloatArray) -> NDArray[np.int64]:
        """Bins of one side."""
        _, octaves, bins = self._counts.shape
        share = magnitudes / self._finest
        mantissa, exponent = np.frexp(share)
        # 0 for what the last octave holds, which has no lower end but zero.
        octave = np.maximum(exponent, 0)
        within = np.where(octave > 0, 2 * mantissa - 1, share)
        place = octave * bins + np.floor(within * bins).astype(np.int64)
        return np.minimum(place, octaves * bins - 1)

    def _rising(self) -> tuple[FloatArray, FloatArray, CountArray]:
        """Starts, widths and counts of all bins, from the lowest values to the highest."""
        _, octaves, bins = self._counts.shape
        lengths = self._finest * np.array([1.0, *2.0 ** np.arange(octaves - 1)])
        widths = np.repeat(lengths / bins, bins)
        edges = np.concatenate([[0.0], np.cumsum(widths)])
        below, above = self._counts.reshape(2, -1)
        return (
            np.concatenate([-edges[:0:-1], edges[:-1]]),
            np.concatenate([widths[::-1], widths]),
            np.concatenate([below[::-1], above]),
        )

    def _grow(self, largest: float) -> None:
        if largest > self.limit and not self._counts.any():
            self.limit = 2.0 ** math.ceil(math.log2(largest))
        while self.limit < largest:
            pairs = self._counts[:, :2].reshape(2, 1, -1, 2).sum(axis=3)
            empty = np.zeros_like(pairs)
            self._counts = np.concatenate([pairs, self._counts[:, 2:], empty], axis=1)
            self.limit *= 2
