"""k-means on a line: the values that are found, from every start, and what is hard about it."""

from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import Cancelled
from tests.builders import never_cancelled
from worker.engine.clustering.kmeans import centroids_of
from worker.engine.clustering.sorted_rows import SortedRows
from worker.engine.clustering.starts import CentroidInit, first_centroids

INITS: tuple[CentroidInit, ...] = get_args(CentroidInit)


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def clustered(
    values: NDArray[np.float32],
    number: int,
    init: CentroidInit = "linear",
    check_cancelled: Callable[[], None] = never_cancelled,
) -> list[NDArray[np.float32]]:
    rows = SortedRows.of(np.atleast_2d(values))
    return centroids_of(rows, number, init, np.random.default_rng(0), check_cancelled)


def squared_error(values: NDArray[np.float32], centroids: NDArray[np.float32]) -> float:
    distances = np.abs(values[:, None].astype(np.float64) - centroids)
    return float(np.square(distances.min(axis=1)).mean())


def least_squared_error(values: NDArray[np.float32], number: int) -> float:
    """Of all ways to cut the sorted values into so many stretches: dynamic programming."""
    ordered = np.sort(values.astype(np.float64))
    size = len(ordered)
    best = np.full((number + 1, size + 1), np.inf)
    best[0, 0] = 0
    for k in range(1, number + 1):
        for end in range(k, size + 1):
            best[k, end] = min(
                best[k - 1, start] + ordered[start:end].var() * (end - start)
                for start in range(k - 1, end)
            )
    return float(best[number, size] / size)


@pytest.mark.parametrize("init", INITS)
def test_centroids_are_the_means_of_groups_that_lie_apart(init: CentroidInit) -> None:
    values = floats(10, 0.5, 0.25, -3, 9, 0.75, -5, 11)

    (found,) = clustered(values, 3, init)

    np.testing.assert_array_equal(found, floats(-4, 0.5, 10))


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("number", [2, 5, 16])
def test_every_value_is_nearest_to_the_mean_of_its_own_cluster(
    init: CentroidInit, number: int
) -> None:
    values = np.random.default_rng(1).standard_normal(5000).astype(np.float32)

    (found,) = clustered(values, number, init)

    assert len(found) == number
    numbers = np.abs(values[:, None] - found).argmin(axis=1)
    means = [values[numbers == index].mean(dtype=np.float64) for index in range(number)]
    np.testing.assert_allclose(found, means, rtol=1e-5, atol=1e-6)


def test_two_clusters_are_the_best_two_there_are() -> None:
    values = np.random.default_rng(2).standard_normal(60).astype(np.float32)

    (found,) = clustered(values, 2, "density")

    assert squared_error(values, found) == pytest.approx(least_squared_error(values, 2), rel=1e-5)


@pytest.mark.parametrize("init", INITS)
def test_error_is_less_than_twice_the_least_possible(init: CentroidInit) -> None:
    values = np.random.default_rng(3).laplace(size=80).astype(np.float32)

    (found,) = clustered(values, 6, init)

    assert squared_error(values, found) < 2 * least_squared_error(values, 6)


@pytest.mark.parametrize("init", INITS)
def test_fewer_distinct_values_than_clusters_are_kept_exactly(init: CentroidInit) -> None:
    (found,) = clustered(floats(0.1, -2, 0.1, 7, 7, -2), 5, init)

    np.testing.assert_array_equal(found, floats(-2, 0.1, 7))


@pytest.mark.parametrize("init", INITS)
def test_no_cluster_stays_empty_where_one_value_far_away_takes_the_room(init: CentroidInit) -> None:
    values = np.append(np.linspace(0, 1, 400), 1000).astype(np.float32)

    (found,) = clustered(values, 8, init)

    assert len(found) == 8
    assert found[-1] == 1000
    assert squared_error(values, found) < 1.5 * least_squared_error_of_line(400, 7)


def least_squared_error_of_line(size: int, number: int) -> float:
    """Of `size` even numbers from 0 to 1 in so many equal stretches."""
    width = 1 / number
    return float(width**2 / 12 * (1 + 1 / size))


@pytest.mark.parametrize("init", INITS)
def test_values_that_are_nearly_all_the_same_have_as_many_clusters_as_asked(
    init: CentroidInit,
) -> None:
    values = np.concatenate([np.full(1000, 0.5), np.arange(20)]).astype(np.float32)

    (found,) = clustered(values, 6, init)

    assert len(found) == 6
    assert (np.diff(found) > 0).all()


def test_rows_are_clustered_each_for_itself() -> None:
    rng = np.random.default_rng(4)
    rows = (rng.standard_normal((7, 50)) * np.arange(1, 8)[:, None]).astype(np.float32)
    rows[3] = 2.0

    together = clustered(rows, 4)

    for row, found in zip(rows, together, strict=True):
        np.testing.assert_array_equal(found, clustered(row, 4)[0])
    np.testing.assert_array_equal(together[3], floats(2))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_values_of_any_size_are_clustered(scale: float) -> None:
    values = (np.array([1, 1.5, 2, 8, 9, 10, 30]) * scale).astype(np.float32)

    (found,) = clustered(values, 3, "kmeans++")

    np.testing.assert_allclose(found, np.array([1.5, 9, 30]) * scale, rtol=1e-6)


def test_linear_starts_evenly_between_the_ends() -> None:
    rows = SortedRows.of(floats(0, 1, 1, 2, 8)[None])

    start = first_centroids(rows, 3, "linear", np.random.default_rng(0))

    np.testing.assert_array_equal(start, [[0, 4, 8]])


def test_density_starts_evenly_by_rank() -> None:
    rows = SortedRows.of(floats(0, 1, 1, 2, 8, 9)[None])

    start = first_centroids(rows, 3, "density", np.random.default_rng(0))

    np.testing.assert_array_equal(start, [[1, 2, 9]])


def test_kmeans_plus_plus_never_starts_twice_at_the_same_value() -> None:
    rows = SortedRows.of(np.repeat(floats(1, 2, 30, 40), 50)[None])

    starts = [first_centroids(rows, 4, "kmeans++", np.random.default_rng(n)) for n in range(20)]

    assert all((start == [[1, 2, 30, 40]]).all() for start in starts)


def test_kmeans_plus_plus_draws_otherwise_for_another_seed() -> None:
    values = np.random.default_rng(5).standard_normal((1, 3000)).astype(np.float32)
    rows = SortedRows.of(values)

    starts = [first_centroids(rows, 4, "kmeans++", np.random.default_rng(n)) for n in range(3)]

    assert all((one != other).any() for one, other in pairwise(starts))


def test_centroids_stop_when_cancelled() -> None:
    def cancelled() -> None:
        raise Cancelled("the job was asked to stop")

    with pytest.raises(Cancelled):
        clustered(np.arange(100, dtype=np.float32), 4, check_cancelled=cancelled)


def test_sums_and_counts_are_those_of_the_counted_values() -> None:
    rng = np.random.default_rng(6)
    values = rng.standard_normal((3, 100)).astype(np.float32)
    is_counted = rng.random((3, 100)) < 0.6
    rows = SortedRows.of(values, is_counted)
    bounds = np.array([[-1, 0, 0.3], [-9, -0.5, 9], [0.1, 0.2, 0.3]])

    counts = rows.counts_up_to(bounds)

    for row in range(3):
        taken = values[row][is_counted[row]]
        below = [taken <= bound for bound in bounds[row]]
        np.testing.assert_array_equal(counts[row], [mask.sum() for mask in below])
        np.testing.assert_allclose(
            rows.sums_up_to(counts)[row], [taken[mask].sum() for mask in below], atol=1e-5
        )


def test_millions_of_weights_take_no_more_memory_than_a_sorted_copy() -> None:
    rows = SortedRows.of(np.random.default_rng(7).standard_normal((1, 1 << 20), np.float32))

    ends = np.array([[0, 12345, 1 << 20]])

    sums = rows.sums_up_to(ends)[0]
    np.testing.assert_allclose(sums, [rows.values[0, :end].sum(dtype=float) for end in ends[0]])
    assert rows._block_sums.nbytes <= rows.values.nbytes / 7
