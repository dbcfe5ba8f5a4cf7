"""Ranges that a histogram of a tensor's values suggests; pure numpy.

A range always holds zero: padding, relu and pruned channels make zeros that must stay exact.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.engine.quantizing.calibration.histogram import Histogram

FloatArray = NDArray[np.floating[Any]]
# Values -> what they are rounded to.
Rounding = Callable[[FloatArray], FloatArray]

# Shares of a range that are tried: fine near the whole of it, in equal ratios below its half.
FINE_SHARES: tuple[float, ...] = tuple(np.linspace(1.0, 0.5, 26).tolist())
RATIO = 0.93
# An end is drawn in so far at least, though all of it is small.
LEAST_SHARE = 0.1
# A range that ends before this much of the mean magnitude is no good one.
LEAST_OF_MEAN = 0.25
# Bins of a divergence are those of a histogram where so many of its values end.
MOST = 0.999
# Values that the levels of a range are counted by, 16 bits having 4 each.
MOST_BINS = 1 << 18
ROUNDS = 4
# Of a bin that outliers alone fill: zero would make the divergence infinite.
NOTHING = 1e-9
# Where a level stands for fewer bins, it tells nearly all of them, and every range seems perfect.
BINS_A_LEVEL = 4


class Limits(NamedTuple):
    """What is told apart, ends included; beyond it values are cut off."""

    low: float
    high: float

    def with_zero(self) -> "Limits":
        return Limits(min(self.low, 0.0), max(self.high, 0.0))


# What a mapping makes of values where it is given a range.
RoundingWithin = Callable[[Limits], Rounding]


def min_max(histogram: Histogram) -> Limits:
    """All that was seen."""
    return Limits(histogram.low, histogram.high).with_zero()


def moving_average(histogram: Histogram) -> Limits:
    """The mean of batch extremes, later ones weighing more (Jacob et al. 2018, section 3.1)."""
    return Limits(histogram.average_low, histogram.average_high).with_zero()


def percentile(histogram: Histogram, percent: float) -> Limits:
    """Without the 100 - `percent` % largest and as many of the smallest values."""
    share = percent / 100
    return Limits(histogram.quantile(1 - share), histogram.quantile(share)).with_zero()


def least_squares(histogram: Histogram, rounding: RoundingWithin) -> Limits:
    """The range in which rounding and cutting off change values least, in the mean square.

    Both ends are drawn in together first, then each by itself while that helps.
    """
    whole = min_max(histogram)
    mean = histogram.mean_magnitude()
    values, counts, widths = _merged(histogram, histogram.width_at(mean))
    best = whole
    least = _squared_error(values, counts, rounding(whole), widths)
    for round_number in range(ROUNDS):
        before = least
        for candidate in _candidates(whole, best, mean, together=round_number == 0):
            error = _squared_error(values, counts, rounding(candidate), widths)
            if error < least:
                best, least = candidate, error
        if round_number and least == before:
            break
    return best


def least_divergence(histogram: Histogram, rounding: RoundingWithin) -> Limits:
    """The range whose levels tell most of how values are distributed.

    The Kullback-Leibler divergence of Migacz 2017, "8-bit inference with TensorRT" (GTC): values
    beyond a threshold are added to the outermost bins; levels spread what they hold over the bins
    they stand for. One threshold for both signs; exact zeros, which lose nothing, are left out.
    """
    whole = min_max(histogram)
    width = histogram.width_at(_reach_of_most(histogram))
    values, counts, _ = _merged(histogram, width)
    best, least = whole, np.inf
    reach = max(-whole.low, whole.high)
    # Where levels tell too few bins apart, it ends by itself.
    for share in _shares(reach, 0.0):
        threshold = share * reach
        candidate = Limits(max(whole.low, -threshold), min(whole.high, threshold))
        inside = (values >= candidate.low) & (values <= candidate.high)
        if not inside.any() or not _tells_apart(candidate, rounding(candidate), width):
            break
        levels = rounding(candidate)(values[inside])
        divergence = _divergence(counts, inside, levels)
        if divergence < least:
            best, least = candidate, divergence
    return best


def _reach_of_most(histogram: Histogram) -> float:
    """The magnitude that nearly all values do not exceed; exact zeros left out."""
    values, counts = histogram.filled()
    order = np.argsort(np.abs(values))
    shares = np.cumsum(counts[order]) / counts.sum()
    return float(np.abs(values[order][np.searchsorted(shares, MOST)]))


def _merged(histogram: Histogram, width: float) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Of bins that are not empty, finer ones than `width` merged: values, counts and widths."""
    values, counts = histogram.filled()
    starts, numbers = np.unique(np.floor(values / width), return_inverse=True)
    merged = np.bincount(numbers, counts)
    widths = np.full(len(starts), width)
    np.maximum.at(widths, numbers, histogram.filled_widths())
    return np.bincount(numbers, counts * values) / merged, merged.astype(np.int64), widths


def _shares(reach: float, mean: float) -> Iterator[float]:
    """Of an end; where a value far out is all of it, down to where the others are."""
    yield from FINE_SHARES
    share = FINE_SHARES[-1] * RATIO
    while share > LEAST_SHARE or share * reach > LEAST_OF_MEAN * mean:
        yield share
        share *= RATIO


def _candidates(whole: Limits, best: Limits, mean: float, *, together: bool) -> Iterator[Limits]:
    low, high = whole
    if together:
        for share in _shares(max(-low, high), mean):
            yield Limits(low * share, high * share)
        return
    if low < 0:
        yield from (Limits(low * share, best.high) for share in _shares(-low, mean))
    if high > 0:
        yield from (Limits(best.low, high * share) for share in _shares(high, mean))


def _squared_error(
    values: FloatArray, counts: NDArray[np.int64], rounding: Rounding, widths: FloatArray
) -> float:
    """Summed over all counted values, each bin standing at three places of itself.

    At the center alone, levels closer to each other than bins would seem free of error.
    """
    error = 0.0
    for offset in (-widths / 3, 0.0, widths / 3):
        moved = values + offset
        error += float(counts @ (rounding(moved) - moved) ** 2) / 3
    return error


def _tells_apart(limits: Limits, rounding: Rounding, width: float) -> bool:
    """Whether levels stand for enough bins each for a divergence to say something."""
    count = min((limits.high - limits.low) / width, MOST_BINS)
    bins = np.linspace(limits.low, limits.high, math.ceil(count), endpoint=False)
    return len(np.unique(rounding(bins))) * BINS_A_LEVEL <= len(bins)


def _divergence(counts: NDArray[np.int64], inside: NDArray[np.bool_], levels: FloatArray) -> float:
    """Of what the levels tell from the counts of all bins.

    inside: [bins], a run of True; levels: for each bin inside, what its values are rounded to.
    """
    (places,) = np.nonzero(inside)
    own = counts[places].astype(np.float64)
    true = own.copy()
    true[0] += counts[: places[0]].sum()
    true[-1] += counts[places[-1] + 1 :].sum()
    _, numbers, bins_of_level = np.unique(levels, return_inverse=True, return_counts=True)
    told = (np.bincount(numbers, weights=own) / bins_of_level)[numbers]
    true /= true.sum()
    told /= told.sum()
    return float(np.sum(true * np.log(true / np.maximum(told, NOTHING))))
