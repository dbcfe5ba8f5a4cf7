"""What a grid spans: scale and zero point of every block of weights."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

# Shares of the min-max range among which the squared error is compared.
SHRUNK = np.linspace(0.2, 1.0, 41)
# Of one comparison, in memory.
PART_WEIGHTS = 1 << 20
# A smaller scale is no normal float32: products with it lose bits, or all of them.
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


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
    share = _best_share(blocks, low, high, chosen)
    return scales(low * share, high * share, chosen)


def scales(
    low: FloatArray, high: FloatArray, chosen: Range
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Of ranges [low, high] that hold 0: Jacob et al. 2018, equation 1 and section 3.

    Symmetric: scale = max(|low|, |high|) / highest, zero point 0. Affine: scale = (high - low) /
    (2^num_bits - 1), and the zero point is the nearest integer to where 0 falls.
    """
    if chosen.symmetric:
        scale = _usable(np.maximum(-low, high) / chosen.highest)
        return scale, np.zeros(scale.shape, np.int32)
    scale = _usable((high - low) / (chosen.highest - chosen.lowest))
    zero_point = np.rint(chosen.lowest - low / scale.astype(np.float64))
    return scale, np.clip(zero_point, chosen.lowest, chosen.highest).astype(np.int32)


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


def _best_share(blocks: FloatArray, low: FloatArray, high: FloatArray, chosen: Range) -> FloatArray:
    """By which factor of `SHRUNK` both ends are drawn in for the smallest squared error: [blocks].

    Of equal errors the larger range wins. Error of a weight: that of the nearest value of the grid.
    """
    best = np.ones(len(blocks))
    rows = max(1, PART_WEIGHTS // max(1, blocks.shape[1]))
    for start in range(0, len(blocks), rows):
        part = slice(start, start + rows)
        least = np.full(len(blocks[part]), np.inf)
        for share in SHRUNK[::-1]:
            error = _squared_error(blocks[part], low[part] * share, high[part] * share, chosen)
            is_better = error < least
            best[part][is_better] = share
            least = np.minimum(error, least)
    return best


def _squared_error(
    blocks: FloatArray, low: FloatArray, high: FloatArray, chosen: Range
) -> FloatArray:
    scale, zero_point = (part[:, np.newaxis] for part in scales(low, high, chosen))
    numbers = np.clip(np.rint(blocks / scale) + zero_point, chosen.lowest, chosen.highest)
    error: FloatArray = np.nansum(np.square(blocks - scale * (numbers - zero_point)), axis=1)
    return error
