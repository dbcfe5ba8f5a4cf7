"""k-means of numbers on a line (Lloyd 1982), for many rows at once.

On sorted numbers a cluster is a stretch between two bounds: an iteration looks up the bounds and
takes differences of sums, so it costs a few microseconds however many numbers there are.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from worker.engine.clustering.sorted_rows import Ends, Floats, SortedRows, Sums
from worker.engine.clustering.starts import CentroidInit, first_centroids

MOST_ITERATIONS = 300


def centroids_of(
    rows: SortedRows,
    number_of_clusters: int,
    init: CentroidInit,
    rng: np.random.Generator,
    check_cancelled: Callable[[], None],
) -> list[Floats]:
    """The shared values of each row: ascending, all different, at most `number_of_clusters`.

    A row with no more different numbers than that keeps each of them.
    """
    found: dict[int, Floats] = {}
    is_exact = rows.distinct_counts() <= number_of_clusters
    for index in np.flatnonzero(is_exact):
        found[int(index)] = np.unique(rows.values[index, : rows.lengths[index]])
    others = np.flatnonzero(~is_exact)
    if len(others):
        shared = rows.chosen(others)
        start = first_centroids(shared, number_of_clusters, init, rng)
        moved = _lloyd(shared, start, check_cancelled)
        for index, own in zip(others, moved, strict=True):
            found[int(index)] = np.unique(own.astype(np.float32))
    return [found[index] for index in range(len(rows))]


def _lloyd(rows: SortedRows, centroids: Sums, check_cancelled: Callable[[], None]) -> Sums:
    """Move each centroid to the mean of what is nearest to it until none moves; [rows, k]."""
    settled = centroids.copy()
    places = np.arange(len(rows))
    edges = _edges(rows, centroids)
    for _ in range(MOST_ITERATIONS):
        check_cancelled()
        centroids = _means(rows, edges)
        settled[places] = centroids
        before, edges = edges, _edges(rows, centroids)
        is_moving = (before != edges).any(axis=1) | (np.diff(edges, axis=1) == 0).any(axis=1)
        if not is_moving.any():
            break
        # A few rows take ten times as long as most; copying the rest costs, so by halves.
        if is_moving.sum() <= len(rows) / 2:
            left = np.flatnonzero(is_moving)
            rows, places, edges = rows.chosen(left), places[left], edges[left]
    return settled


def _edges(rows: SortedRows, centroids: Sums) -> Ends:
    """The ranks at which clusters begin and end, [rows, k + 1]; a tie goes to the lower one."""
    bounds = (centroids[:, 1:] + centroids[:, :-1]) / 2
    first = np.zeros((len(rows), 1), np.int64)
    return np.concatenate([first, rows.counts_up_to(bounds), rows.lengths[:, None]], axis=1)


def _means(rows: SortedRows, edges: Ends) -> Sums:
    """The mean of each cluster, ascending; one that lost its last number starts anew elsewhere."""
    counts = np.diff(edges, axis=1)
    sums = np.diff(rows.sums_up_to(edges), axis=1)
    means = sums / np.maximum(counts, 1)
    is_empty = counts == 0
    for row in np.flatnonzero(is_empty.any(axis=1)):
        own = SortedRows(rows.values[row : row + 1], rows.lengths[row : row + 1])
        means[row, is_empty[row]] = _farthest(own, edges[row], means[row], is_empty[row])
    return np.sort(means, axis=1)


def _farthest(row: SortedRows, edges: Ends, means: Sums, is_empty: NDArray[np.bool_]) -> Sums:
    """The numbers farthest from their own mean, one a cluster, as many as there are empty ones.

    Where more are empty than clusters are spread out, some numbers come twice; the next iteration
    finds those clusters empty again.
    """
    filled = np.flatnonzero(~is_empty)
    lowest = row.at(edges[None, filled])[0].astype(np.float64)
    highest = row.at(edges[None, filled + 1] - 1)[0].astype(np.float64)
    below, above = means[filled] - lowest, highest - means[filled]
    order = np.argsort(-np.maximum(below, above), kind="stable")
    ends = np.where(below > above, lowest, highest)[order]
    return np.resize(ends, int(is_empty.sum()))
