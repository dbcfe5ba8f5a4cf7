"""The levels that a distribution is told by with the least squared error; pure numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

ITERATIONS = 500
# Of the coarser distribution whose best levels are the start; with more levels than `FEW`, the
# asymptotically best ones are as good, and found at once.
CELLS = 512
FEW = 32


def lloyd_max(values: FloatArray, counts: NDArray[Any], number_of_levels: int) -> FloatArray:
    """Levels, rising, at most `number_of_levels` of them; one is exactly zero.

    Lloyd 1982, "Least squares quantization in PCM", method I: thresholds half-way between levels,
    levels at the mean of what lies between thresholds, until nothing moves. It ends in the nearest
    optimum, so it is started at the best levels of a coarser distribution.

    values: [bins], rising, what was counted; counts: [bins], how often.
    """
    at_hand = np.union1d(values, 0.0)
    if len(at_hand) <= number_of_levels:
        return at_hand
    weights = counts.astype(np.float64)
    if number_of_levels > FEW:
        start, _ = _coarser(values, weights, number_of_levels)
        start[np.argmin(np.abs(start))] = 0.0
    else:
        start = _best(*_coarser(values, weights, CELLS), number_of_levels)
    return _settled(values, weights, np.sort(start))


def squared_error(values: FloatArray, weights: FloatArray, levels: FloatArray) -> float:
    """Summed over all counted values, each told by its nearest level."""
    return float(weights @ (values - nearest(values, levels)) ** 2)


def nearest(values: FloatArray, levels: FloatArray) -> FloatArray:
    """The nearest level of each value; the lower one of two equally near. levels: rising."""
    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]


def _coarser(values: FloatArray, weights: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """At most `count` values with their weights.

    Cells get narrow as the cube root of the density, as levels themselves do (Panter & Dite 1951).
    """
    if len(values) <= count:
        return values.copy(), weights
    widths = np.gradient(values)
    share = np.cumsum(np.cbrt(weights / widths) * widths)
    cells = np.minimum((share / share[-1] * count).astype(np.int64), count - 1)
    _, cells = np.unique(cells, return_inverse=True)
    mass: FloatArray = np.bincount(cells, weights).astype(np.float64)
    means: FloatArray = np.bincount(cells, weights * values) / mass
    return means, mass


def _best(values: FloatArray, weights: FloatArray, number: int) -> FloatArray:
    """The best levels there are, by trying all ways to cut the values into runs (Bellman 1973).

    Each run is told by its mean, one of them by zero. `ways[used, j]`: the least error of the first
    j values, zero being used or not.
    """
    count = len(values)
    number = min(number, count)
    by_mean, by_zero = _costs(values, weights)
    ways = np.full((2, count + 1), np.inf)
    ways[0, 0] = 0.0
    choices: list[tuple[IntArray, IntArray, NDArray[np.bool_]]] = []
    for _ in range(number):
        free = ways[0][:, np.newaxis] + by_mean
        kept = ways[1][:, np.newaxis] + by_mean
        turned = ways[0][:, np.newaxis] + by_zero
        is_turned = turned.min(axis=0) < kept.min(axis=0)
        used_from = np.where(is_turned, turned.argmin(axis=0), kept.argmin(axis=0))
        choices.append((free.argmin(axis=0), used_from, is_turned))
        ways = np.stack([free.min(axis=0), np.minimum(turned.min(axis=0), kept.min(axis=0))])
    return _traced(values, weights, choices)


def _costs(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """[start, end]: the error of values start..end-1 told by their mean, and by zero."""
    sums = [np.concatenate([[0.0], np.cumsum(weights * values**power)]) for power in range(3)]
    mass, moment, square = (each[np.newaxis, :] - each[:, np.newaxis] for each in sums)
    is_run = mass > 0
    by_mean = np.where(is_run, square - moment**2 / np.where(is_run, mass, 1.0), np.inf)
    return np.maximum(by_mean, 0.0), np.where(is_run, square, np.inf)


def _traced(
    values: FloatArray,
    weights: FloatArray,
    choices: list[tuple[IntArray, IntArray, NDArray[np.bool_]]],
) -> FloatArray:
    """The levels of the best way, from its end to its start."""
    end, is_used = len(values), True
    levels = []
    for free_from, used_from, is_turned in reversed(choices):
        start = int(used_from[end] if is_used else free_from[end])
        is_zero = is_used and bool(is_turned[end])
        levels.append(0.0 if is_zero else np.average(values[start:end], weights=weights[start:end]))
        end, is_used = start, is_used and not is_zero
    return np.sort(np.array(levels))


def _settled(values: FloatArray, weights: FloatArray, levels: FloatArray) -> FloatArray:
    mass = np.concatenate([[0.0], np.cumsum(weights)])
    moment = np.concatenate([[0.0], np.cumsum(weights * values)])
    for _ in range(ITERATIONS):
        cuts = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2, side="right")
        cuts = np.concatenate([[0], cuts, [len(values)]])
        held, moments = np.diff(mass[cuts]), np.diff(moment[cuts])
        # A level that nothing is near stays, and so does zero, whatever is near it.
        moved = np.divide(moments, held, out=levels.copy(), where=held > 0)
        moved[levels == 0] = 0.0
        if np.array_equal(moved, levels):
            break
        levels = moved
    return levels
