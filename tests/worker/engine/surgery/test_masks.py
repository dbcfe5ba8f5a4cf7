"""Which weights stay: by hand on small arrays."""

import numpy as np
import pytest

from worker.engine.surgery.masks import (
    as_matrix,
    block_means,
    from_matrix,
    keep_mask,
    keep_n_of_m,
    spread_blocks,
)

RNG = np.random.default_rng(0)


def test_keep_mask_drops_the_smallest_half_of_a_kernel() -> None:
    magnitudes = np.array([[0.1, 0.9, 0.3], [0.8, 0.2, 0.7]])

    np.testing.assert_array_equal(
        keep_mask(magnitudes, 0.5), [[False, True, False], [True, False, True]]
    )


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.333, 0.5, 0.95, 0.999])
def test_keep_mask_drops_exactly_the_share_when_values_repeat(sparsity: float) -> None:
    scores = RNG.integers(0, 5, (37, 11)).astype("float32")

    assert (~keep_mask(scores, sparsity)).sum() == round(sparsity * scores.size)


def test_keep_mask_drops_the_first_of_equal_scores() -> None:
    np.testing.assert_array_equal(keep_mask(np.ones(4), 0.5), [False, False, True, True])


def test_keep_mask_never_drops_a_larger_score_than_it_keeps() -> None:
    scores = RNG.random(1000)
    keep = keep_mask(scores, 0.7)

    assert scores[~keep].max() < scores[keep].min()


def test_keep_n_of_m_keeps_the_largest_two_of_every_four_inputs() -> None:
    kernel = np.array([[1, 8], [4, 7], [3, 6], [2, 5], [9, 1], [1, 2], [2, 3], [8, 4]], float)

    kept = keep_n_of_m(kernel, 2, 4)

    np.testing.assert_array_equal(
        kept, np.array([[0, 1], [1, 1], [1, 0], [0, 0], [1, 0], [0, 0], [0, 1], [1, 1]], bool)
    )


def test_keep_n_of_m_keeps_the_same_share_of_a_last_smaller_group() -> None:
    kept = keep_n_of_m(np.arange(6.0).reshape(6, 1), 2, 4)

    np.testing.assert_array_equal(kept.ravel(), [False, False, True, True, False, True])


@pytest.mark.parametrize(
    ("shape", "input_axes"),
    [((4, 3), (0,)), ((2, 2, 3, 5), (0, 1, 2)), ((2, 2, 5, 3), (0, 1, 3)), ((2, 2, 3, 2), (0, 1))],
)
def test_from_matrix_undoes_as_matrix(shape: tuple[int, ...], input_axes: tuple[int, ...]) -> None:
    kernel = RNG.random(shape)
    matrix = as_matrix(kernel, input_axes)

    assert matrix.shape[0] == np.prod([shape[axis] for axis in input_axes])
    np.testing.assert_array_equal(from_matrix(matrix > 0.5, shape, input_axes), kernel > 0.5)


def test_block_means_average_smaller_blocks_at_the_edge_over_what_they_hold() -> None:
    matrix = np.array([[1.0, 3.0, 5.0], [1.0, 3.0, 7.0], [2.0, 4.0, 9.0]])

    np.testing.assert_allclose(block_means(matrix, (2, 2)), [[2.0, 6.0], [3.0, 9.0]])


def test_spread_blocks_gives_every_weight_the_value_of_its_block() -> None:
    blocks = np.array([[True, False]])

    np.testing.assert_array_equal(
        spread_blocks(blocks, (2, 2), (2, 3)), [[True, True, False], [True, True, False]]
    )
