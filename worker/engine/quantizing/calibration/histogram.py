"""How often values occur, counted batch by batch in memory that does not grow; pure numpy."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
CountArray = NDArray[np.int64]

BINS_A_SIDE = 16384
# What values below it are is lost in any float32 sum with others.
SMALLEST_LIMIT = 2.0**-100
# A later batch changes an average range by a tenth (Jacob et al. 2018, section 3.1, names no rate).
AVERAGE_RATE = 0.1


class Histogram:
    """Counts in bins of equal width from -limit to limit, with an edge at zero.

    `limit` is a power of two; a larger value doubles it as often as needed, and pairs of bins are
    merged, so that no count is lost and zero stays an edge. Exact zeros are counted apart: after a
    relu they are half of all values, and every range that is used here holds a zero exactly.
    """

    def __init__(self, bins_a_side: int = BINS_A_SIDE) -> None:
        self.limit = SMALLEST_LIMIT
        self.zeros = 0
        self.low = math.inf
        self.high = -math.inf
        self.average_low = 0.0
        self.average_high = 0.0
        self._counts: CountArray = np.zeros(2 * bins_a_side, np.int64)

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
        place = np.floor(others.astype(np.float64) / self.width).astype(np.int64) + self._side
        np.clip(place, 0, len(self._counts) - 1, out=place)
        self._counts += np.bincount(place, minlength=len(self._counts))

    @property
    def width(self) -> float:
        """Of one bin."""
        return self.limit / self._side

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
        (places,) = np.nonzero(self._counts)
        return (places - self._side + 0.5) * self.width, self._counts[places]

    def quantile(self, share: float) -> float:
        """The value that `share` of all values do not exceed, to the width of a bin."""
        below, above = np.split(self._counts, [self._side])
        counts = np.concatenate([below, [self.zeros], above])
        edges = np.arange(-self._side, self._side + 1) * self.width
        # The zeros are a bin without width between those of both sides.
        starts = np.insert(edges, self._side + 1, 0.0)[:-1]
        widths = np.full(len(counts), self.width)
        widths[self._side] = 0.0
        ends = np.cumsum(counts)
        place = int(np.searchsorted(ends, share * ends[-1]))
        into = share * ends[-1] - (ends[place] - counts[place])
        value = starts[place] + widths[place] * into / max(1, counts[place])
        return float(min(max(value, self.low), self.high))

    @property
    def _side(self) -> int:
        return len(self._counts) // 2

    def _grow(self, largest: float) -> None:
        if largest > self.limit and not self._counts.any():
            self.limit = 2.0 ** math.ceil(math.log2(largest))
        while self.limit < largest:
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            rest = self._side // 2
            self._counts = np.pad(pairs, (self._side - rest, self._side - rest))
            self.limit *= 2
