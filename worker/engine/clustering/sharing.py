"""A weight on few values: found by k-means, and every entry moved to the nearest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.clustering.kmeans import centroids_of
from worker.engine.clustering.sorted_rows import Floats, SortedRows
from worker.engine.clustering.starts import CentroidInit
from worker.engine.quantizing.levels import Codebook

# Entries that are looked up at once: their indices take eight bytes each.
LOOKED_UP = 1 << 20


@dataclass(frozen=True)
class Sharing:
    """How many values, where they start, and whether zeros stay what they are.

    `keeps_zero`: entries that are exactly 0 are a cluster of their own, one of the
    `number_of_clusters`, which nothing else joins.
    """

    number_of_clusters: int
    init: CentroidInit
    keeps_zero: bool
    check_cancelled: Callable[[], None]

    def codebook(
        self, weight: Floats, channel_axis: int | None, rng: np.random.Generator
    ) -> tuple[Codebook, Floats]:
        """The shared values of a weight, any shape, and the weight on them.

        `channel_axis` null: one list of values for all of it, else one for each index on that axis.
        """
        rows = _rows(weight, channel_axis)
        is_counted = rows != 0 if self.keeps_zero else np.ones(rows.shape, np.bool_)
        lists = self._lists(rows, is_counted, rng)
        moved = np.zeros(rows.shape, np.float32)
        for row, taken, own, target in zip(rows, is_counted, lists, moved, strict=True):
            target[taken] = nearest(own, row[taken])
        has_zero = np.asarray(~is_counted.all(axis=1))
        books = [
            np.unique(np.append(own, np.float32(0))) if zero else own
            for own, zero in zip(lists, has_zero, strict=True)
        ]
        if channel_axis is None:
            return Codebook(books[0]), moved.reshape(weight.shape)
        shape = np.moveaxis(weight, channel_axis, 0).shape
        return (
            Codebook(_padded(books), channel_axis),
            np.moveaxis(moved.reshape(shape), 0, channel_axis),
        )

    def _lists(
        self, rows: Floats, is_counted: NDArray[np.bool_], rng: np.random.Generator
    ) -> list[Floats]:
        """The values of each row beside 0. Rows with zeros have one cluster less to give."""
        has_zero = np.asarray(~is_counted.all(axis=1))
        found: dict[int, Floats] = {}
        for zeros in (False, True):
            indices = np.flatnonzero(has_zero == zeros)
            if not len(indices):
                continue
            own = _sorted(rows, is_counted, indices)
            number = self.number_of_clusters - zeros
            lists = centroids_of(own, number, self.init, rng, self.check_cancelled)
            found.update(zip(map(int, indices), lists, strict=True))
        return [found[index] for index in range(len(rows))]


def nearest(centroids: Floats, values: Floats) -> Floats:
    """Each of `values` [n] moved to the nearest of the ascending centroids; of two, the lower."""
    moved = np.empty(values.shape, np.float32)
    ordered = centroids.astype(np.float64)
    bounds = (ordered[1:] + ordered[:-1]) / 2
    for start in range(0, len(values), LOOKED_UP):
        part = slice(start, start + LOOKED_UP)
        moved[part] = centroids[np.searchsorted(bounds, values[part])]
    return moved


def _rows(weight: Floats, channel_axis: int | None) -> Floats:
    if channel_axis is None:
        return weight.reshape(1, -1)
    return np.moveaxis(weight, channel_axis, 0).reshape(weight.shape[channel_axis], -1)


def _sorted(rows: Floats, is_counted: NDArray[np.bool_], indices: NDArray[np.intp]) -> SortedRows:
    if len(rows) == 1:
        # Pruned tensors are mostly zeros: what is not counted need not be sorted.
        return SortedRows.of(rows[is_counted].reshape(1, -1))
    return SortedRows.of(rows[indices], is_counted[indices])


def _padded(lists: Sequence[Floats]) -> Floats:
    """[rows, k]; the last value of a shorter list is repeated."""
    longest = max(len(own) for own in lists)
    return np.stack([np.pad(own, (0, longest - len(own)), mode="edge") for own in lists])
