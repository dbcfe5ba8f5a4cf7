"""Where centroids start (Han et al. 2016, arXiv:1510.00149, section 3.2)."""

from typing import Literal

import numpy as np

from worker.engine.clustering.sorted_rows import Ends, SortedRows, Sums

CentroidInit = Literal["linear", "density", "kmeans++"]

# kmeans++ draws from so many numbers of all rows together, evenly spaced in their order.
SAMPLED = 1 << 20


def first_centroids(
    rows: SortedRows, number_of_clusters: int, init: CentroidInit, rng: np.random.Generator
) -> Sums:
    """[rows, k], ascending.

    linear: evenly from the smallest number to the largest, so that the few large weights, which
    matter most, get values of their own; density: evenly by rank; kmeans++: far from each other by
    chance (Arthur & Vassilvitskii 2007).
    """
    if init == "linear":
        ends = rows.at(np.stack([np.zeros(len(rows), np.int64), rows.lengths - 1], axis=1))
        lowest, highest = ends.astype(np.float64).T
        return np.linspace(lowest, highest, number_of_clusters, axis=1)
    if init == "density":
        return rows.at(_even_ranks(rows, number_of_clusters)).astype(np.float64)
    return _spread_by_chance(rows, number_of_clusters, rng)


def _even_ranks(rows: SortedRows, count: int) -> Ends:
    """The middle ranks of `count` equal parts of each row, [rows, count]."""
    middles = (np.arange(count) + 0.5) / count
    return np.floor(middles * rows.lengths[:, None]).astype(np.int64)


def _spread_by_chance(rows: SortedRows, number_of_clusters: int, rng: np.random.Generator) -> Sums:
    """Each next centroid with a chance proportional to its squared distance to the nearest one."""
    count = min(int(rows.lengths.max()), max(4 * number_of_clusters, SAMPLED // len(rows)))
    sample = rows.at(_even_ranks(rows, count)).astype(np.float64)
    chosen = np.empty((len(rows), number_of_clusters))
    every = np.arange(len(rows))
    distances = np.full(sample.shape, np.inf)
    places = rng.integers(0, count, len(rows))
    for index in range(number_of_clusters):
        chosen[:, index] = sample[every, places]
        np.minimum(distances, np.square(sample - chosen[:, index, None]), out=distances)
        sums = np.cumsum(distances, axis=1)
        drawn = rng.random(len(rows)) * sums[:, -1]
        places = np.minimum((sums <= drawn[:, None]).sum(axis=1), count - 1)
    return np.sort(chosen, axis=1)
