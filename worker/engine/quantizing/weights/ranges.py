"""What a grid spans: scale and zero point of every block of weights."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

# Shares of an end that are compared, in equal ratios down to a share of its own for each block.
SHARES_TOGETHER = 40
SHARES_OF_AN_END = 24
# What is compared around the best of those: parts of one ratio, on both sides.
BETWEEN = tuple(part / 4 for part in (-3, -2, -1, 1, 2, 3))
AROUND = tuple(part / 2 for part in (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5))
ROUNDS = 4
# No grid that ends before this much of the mean magnitude is a good one: drawn in so far, its
# largest value is below the mean of what it stands for.
LEAST_OF_MEAN = 0.5
LEAST_SHARE = 1e-6
# Of one comparison, in memory that a processor has near.
PART_WEIGHTS = 1 << 16
# A smaller scale is no normal float32: products with it lose bits, or all of them.
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
LARGEST_VALUE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Range:
    """How a range is chosen. `percentile` is in percent and read by that method alone."""

    method: Literal["min_max", "percentile", "mse"]
    num_bits: int
    symmetric: bool
    percentile: float = 100.0

    @property
    def lowest(self) -> int:
        """Smallest integer: symmetric grids leave out the one that has no opposite."""
        return -self.highest if self.symmetric else -(1 << (self.num_bits - 1))

    @property
    def highest(self) -> int:
        return (1 << (self.num_bits - 1)) - 1


def grid_of(blocks: FloatArray, chosen: Range) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Scale and zero point, each [blocks].

    blocks: [blocks, weights], NaN where there is no weight. Zero is always on the grid, exactly.
    A block of zeros alone has a scale of 1.
    """
    low, high = _spanned(blocks, chosen)
    if chosen.method != "mse":
        return scales(low, high, chosen)
    return scales(*_least_squares(blocks, low, high, chosen), chosen)


def scales(
    low: FloatArray, high: FloatArray, chosen: Range
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Of ranges [low, high] that hold 0: Jacob et al. 2018, equation 1 and section 3.

    Symmetric: scale = max(|low|, |high|) / highest, zero point 0. Affine: scale = (high - low) /
    (2^num_bits - 1), and the zero point is the nearest integer to where 0 falls. No value of the
    grid is beyond float32, though the range ends where float32 does.
    """
    if chosen.symmetric:
        scale = _usable(np.maximum(-low, high) / chosen.highest)
        zero_point = np.zeros(scale.shape)
    else:
        scale = _usable((high - low) / (chosen.highest - chosen.lowest))
        zero_point = np.rint(chosen.lowest - low / scale.astype(np.float64))
        zero_point = np.clip(zero_point, chosen.lowest, chosen.highest)
    reach = np.maximum(chosen.highest - zero_point, zero_point - chosen.lowest)
    ceiling = np.nextafter((LARGEST_VALUE / reach).astype(np.float32), np.float32(0))
    return np.minimum(scale, ceiling), zero_point.astype(np.int32)


def _usable(scale: FloatArray) -> NDArray[np.float32]:
    held = np.maximum(scale, SMALLEST_SCALE).astype(np.float32)
    return np.where(scale == 0, np.float32(1), held)


def _spanned(blocks: FloatArray, chosen: Range) -> tuple[FloatArray, FloatArray]:
    """Ends of each block's range, [blocks]; 0 lies between them."""
    if chosen.method != "percentile":
        filled = np.nan_to_num(blocks)
        return filled.min(axis=1, initial=0.0), filled.max(axis=1, initial=0.0)
    # Zeros are on every grid. Those of a pruned kernel would leave no range to the other weights.
    weights = np.where(blocks == 0, np.nan, blocks)
    share = chosen.percentile / 100
    if chosen.symmetric:
        reach = _quantile(np.abs(weights), share)
        return -reach, reach
    tail = (1 - share) / 2
    low, high = _quantile(weights, tail), _quantile(weights, 1 - tail)
    return np.minimum(low, 0), np.maximum(high, 0)


def _quantile(values: FloatArray, share: float) -> FloatArray:
    """Of each row without its NaN, interpolated between neighbors; 0 for a row of NaN."""
    # NaN sorts behind everything.
    ordered = np.sort(values, axis=1)
    counts = np.isfinite(values).sum(axis=1)
    place = share * np.maximum(counts - 1, 0)
    rows = np.arange(len(values))
    below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
    part = place - below
    found = ordered[rows, below] * (1 - part) + ordered[rows, above] * part
    return np.where(counts > 0, found, 0.0)


def _least_squares(
    blocks: FloatArray, low: FloatArray, high: FloatArray, chosen: Range
) -> tuple[FloatArray, FloatArray]:
    """The ends within [low, high] between which rounding has the smallest squared error: [blocks].

    Both are drawn in together; those of affine grids then in turn, while that helps.
    """
    ends = np.stack([low, high])
    rows = max(1, PART_WEIGHTS // max(1, blocks.shape[1]))
    for start in range(0, len(blocks), rows):
        part = slice(start, start + rows)
        # Zero is on every grid: what is no weight is without error.
        search = _Search(np.nan_to_num(blocks[part]), ends[:, part], chosen)
        search.together()
        if not chosen.symmetric:
            search.in_turn()
        ends[:, part] = search.best
    return ends[0], ends[1]


class _Search:
    """Compares ranges for some blocks. Of equal errors, that which was tried first wins."""

    def __init__(self, blocks: FloatArray, whole: FloatArray, chosen: Range) -> None:
        self._blocks = blocks
        self._whole = whole
        self._chosen = chosen
        counts = np.maximum(np.count_nonzero(blocks, axis=1), 1)
        self._mean = np.abs(blocks).sum(axis=1) / counts
        # Low and high, each [blocks].
        self.best = whole.copy()
        self._least = _squared_error(blocks, whole[0], whole[1], chosen)

    def together(self) -> None:
        least = self._least_share(np.abs(self._whole).max(axis=0))
        for step in range(1, SHARES_TOGETHER + 1):
            self._compare(self._whole * least ** (step / SHARES_TOGETHER))
        ratio = least ** (1 / SHARES_TOGETHER)
        center = self.best.copy()
        for part in BETWEEN:
            self._compare(center * ratio**part)

    def in_turn(self) -> None:
        """First over all of an end, zero too; then around the best."""
        for number in range(ROUNDS):
            before = self._least.copy()
            for end in (0, 1):
                self._move(end, is_first=number == 0)
            if number and not (self._least < before).any():
                break

    def _move(self, end: int, *, is_first: bool) -> None:
        whole = self._whole[end]
        least = self._least_share(np.abs(whole))
        if is_first:
            shares = [least ** (step / SHARES_OF_AN_END) for step in range(SHARES_OF_AN_END + 1)]
            tried = [whole * share for share in (*shares, np.zeros_like(least))]
        else:
            ratio = least ** (1 / SHARES_OF_AN_END)
            tried = [self.best[end] * ratio**part for part in AROUND]
        for moved in tried:
            candidate = self.best.copy()
            candidate[end] = moved
            self._compare(candidate)

    def _least_share(self, reach: FloatArray) -> FloatArray:
        """The smallest share of an end that is compared."""
        share = LEAST_OF_MEAN * self._mean / np.maximum(reach, SMALLEST_SCALE)
        return np.clip(share, LEAST_SHARE, 0.5)

    def _compare(self, ends: FloatArray) -> None:
        low = np.maximum(ends[0], self._whole[0])
        high = np.minimum(ends[1], self._whole[1])
        error = _squared_error(self._blocks, low, high, self._chosen)
        is_better = error < self._least
        self.best[0][is_better] = low[is_better]
        self.best[1][is_better] = high[is_better]
        self._least = np.minimum(error, self._least)


def _squared_error(
    blocks: FloatArray, low: FloatArray, high: FloatArray, chosen: Range
) -> FloatArray:
    """Of the nearest values of the grid, summed over each block; a part of long ones at a time."""
    scale, zero_point = (part[:, np.newaxis] for part in scales(low, high, chosen))
    wide = scale.astype(np.float64)
    error = np.zeros(len(blocks))
    for start in range(0, blocks.shape[1], PART_WEIGHTS):
        part = blocks[:, start : start + PART_WEIGHTS]
        numbers = part / wide
        np.rint(numbers, out=numbers)
        np.clip(numbers, chosen.lowest - zero_point, chosen.highest - zero_point, out=numbers)
        numbers *= wide
        numbers -= part
        error += np.einsum("bw,bw->b", numbers, numbers)
    return error
