"""Weights moved to shared values, with zeros kept, per tensor and per channel."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.builders import never_cancelled
from worker.engine.clustering.books import flat_indices, tidied, usage_of
from worker.engine.clustering.sharing import Sharing, nearest
from worker.engine.quantizing.levels import Codebook


def floats(values: Any) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def shared(
    weight: NDArray[np.float32], number: int, axis: int | None = None, *, keeps_zero: bool = True
) -> tuple[Codebook, NDArray[np.float32]]:
    sharing = Sharing(number, "linear", keeps_zero, never_cancelled)
    return sharing.codebook(weight, axis, np.random.default_rng(0))


def sparse(shape: tuple[int, ...], zeros: float, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape).astype(np.float32)
    return np.where(rng.random(shape) < zeros, np.float32(0), weight)


def test_a_kernel_made_by_hand_lies_on_the_means_of_its_groups() -> None:
    kernel = floats([[1.0, -2.0, 1.2], [0.8, -2.2, -1.8]])

    book, moved = shared(kernel, 2)

    np.testing.assert_allclose(book.centroids, [-2, 1], rtol=1e-6)
    np.testing.assert_allclose(moved, [[1, -2, 1], [1, -2, -2]], rtol=1e-6)
    assert book.numbers(moved) is not None


def test_zero_is_one_of_the_clusters_and_nothing_joins_it() -> None:
    kernel = floats([[0, 0.03, 0, 4], [0, -0.01, 6, 0]])

    book, moved = shared(kernel, 3)

    np.testing.assert_array_equal(moved == 0, kernel == 0)
    assert len(book.centroids) == 3
    np.testing.assert_array_equal(np.unique(moved), book.centroids)


def test_zeros_are_values_like_others_where_they_are_not_kept() -> None:
    _, moved = shared(floats([[0, 0.2, 5, 5.2]]), 2, keeps_zero=False)

    np.testing.assert_allclose(moved, [[0.1, 0.1, 5.1, 5.1]])


def test_all_clusters_are_free_where_nothing_is_zero() -> None:
    book, moved = shared(sparse((20, 20), 0.0), 8)

    assert len(np.unique(moved)) == len(book.centroids) == 8
    assert 0 not in book.centroids


def test_each_channel_has_values_of_its_own() -> None:
    kernel = sparse((5, 5, 3, 4), 0.0) * floats([1, 10, 100, 1000])

    book, moved = shared(kernel, 4, axis=3)

    assert book.channel_axis == 3
    assert book.centroids.shape == (4, 4)
    for channel in range(4):
        _, alone = shared(kernel[..., channel], 4)
        np.testing.assert_array_equal(moved[..., channel], alone)
    assert book.numbers(moved) is not None


def test_channels_on_an_inner_axis_keep_their_place() -> None:
    kernel = sparse((3, 4, 6), 0.3)

    book, moved = shared(kernel, 4, axis=1)

    assert moved.shape == kernel.shape
    np.testing.assert_array_equal(moved == 0, kernel == 0)
    assert book.numbers(moved) is not None
    assert all(len(np.unique(moved[:, channel])) <= 4 for channel in range(4))


@pytest.mark.parametrize("number", [2, 3, 16])
def test_channels_with_zeros_without_and_with_nothing_else_go_together(number: int) -> None:
    kernel = sparse((40, 4), 0.0)
    kernel[:, 1] = 0
    kernel[::2, 2] = 0
    kernel[:, 3] = 0.7

    book, moved = shared(kernel, number, axis=1)

    np.testing.assert_array_equal(moved == 0, kernel == 0)
    np.testing.assert_array_equal(moved[:, 3], floats(0.7))
    assert [len(np.unique(moved[:, channel])) for channel in range(4)] == [number, 1, number, 1]
    assert book.numbers(moved) is not None


def test_a_weight_of_zeros_alone_stays_as_it_is() -> None:
    book, moved = shared(np.zeros((3, 9), np.float32), 4)

    np.testing.assert_array_equal(moved, 0)
    np.testing.assert_array_equal(book.centroids, [0])


def test_nearest_takes_the_lower_of_two_equally_near() -> None:
    np.testing.assert_array_equal(nearest(floats([0, 1, 3]), floats([0.5, 2, 9])), [0, 1, 3])


def test_more_clusters_are_closer() -> None:
    weight = sparse((100, 50), 0.5)

    errors = [np.square(shared(weight, k)[1] - weight).mean() for k in (2, 4, 16, 256)]

    assert sorted(errors, reverse=True) == errors


def test_usage_counts_bits_of_indices_and_of_a_code() -> None:
    book = Codebook(floats([-1, 0, 1, 9]))

    use = usage_of(book, floats([[0, 0, 0, 0], [-1, -1, 1, 1]]))

    assert (use.size, use.clusters, use.distinct_values, use.index_bits) == (8, 3, 3, 2)
    assert use.entropy_bits == pytest.approx(1.5)


def test_usage_of_channels_takes_each_by_its_own_shares() -> None:
    book = Codebook(floats([[0, 1], [0, 2]]), channel_axis=1)

    use = usage_of(book, floats([[0, 2], [1, 2]]))

    assert (use.clusters, use.distinct_values, use.index_bits) == (2, 3, 1)
    assert use.entropy_bits == pytest.approx(0.5)


def test_flat_indices_lead_into_the_lists_read_in_a_row() -> None:
    book = Codebook(floats([[1, 2], [3, 4]]), channel_axis=0)
    numbers = np.array([[0, 1, 1], [1, 0, 1]])

    indices = flat_indices(book, numbers)

    np.testing.assert_array_equal(book.centroids.ravel()[indices], book.values(numbers))


def test_a_tidied_codebook_has_the_same_values_in_order() -> None:
    np.testing.assert_array_equal(tidied(Codebook(floats([2, -1, 2]))).centroids, [-1, 2])
    channels = tidied(Codebook(floats([[3, 1], [0, 5]]), channel_axis=1))
    np.testing.assert_array_equal(channels.centroids, [[1, 3], [0, 5]])
