"""Rounding that keeps outputs, on matrices made by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engine.quantizing.weights.moments import WIDEST, Moments, output_shift, pieces
from worker.engine.quantizing.weights.reconstruction import (
    Slots,
    corrected,
    damped,
    output_error,
    reconstructed,
)

Array = NDArray[Any]


def whole(shape: tuple[int, ...], reach: int = 3) -> Slots:
    """The whole numbers up to `reach` on both sides."""
    return Slots(np.ones(shape, np.float32), np.zeros(shape, np.int32), -reach, reach)


def second_moments(vectors: Array) -> Array:
    return vectors.transpose(0, 2, 1) @ vectors


def none_zero(weights: Array) -> NDArray[np.bool_]:
    return np.zeros(weights.shape, np.bool_)


def test_two_inputs_that_are_always_equal_make_good_for_each_other() -> None:
    # y = 0.4 x + 0.4 x: both rounded to nearest give 0, together 0.8 is nearer to 1.
    weights = np.full((1, 2, 1), 0.4)
    vectors = np.repeat(np.linspace(-1, 1, 9)[None, :, None], 2, axis=2)

    found = reconstructed(weights, second_moments(vectors), whole((1, 2, 1)), none_zero(weights))

    assert found.sum() == 1


def test_inputs_that_have_nothing_in_common_are_rounded_to_nearest() -> None:
    weights = np.array([[[0.4, 1.6], [-0.7, 2.2]]])

    found = reconstructed(weights, np.eye(2)[None], whole((1, 2, 2)), none_zero(weights))

    np.testing.assert_array_equal(found, [[[0, 2], [-1, 2]]])


def test_an_input_that_was_never_seen_keeps_its_weights() -> None:
    weights = np.array([[[0.4], [2.6]]])

    found = reconstructed(weights, np.diag([1.0, 0.0])[None], whole((1, 2, 1)), none_zero(weights))

    np.testing.assert_array_equal(found, [[[0], [3]]])


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("inputs", [20, 150])
def test_the_output_is_nearer_than_with_rounding_to_nearest(groups: int, inputs: int) -> None:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((groups, 500, inputs)) @ rng.standard_normal((inputs, inputs))
    weights = rng.standard_normal((groups, inputs, 4))
    slots, moments = whole(weights.shape), second_moments(mixed)

    found = reconstructed(weights, moments, slots, none_zero(weights))

    errors = [output_error(weights - n, moments) for n in (found, slots.nearest(weights))]
    assert errors[0] < 0.7 * errors[1]


def test_zeros_stay_and_what_they_owe_is_handed_on() -> None:
    weights = np.array([[[0.0], [0.4], [0.4]]])
    vectors = np.repeat(np.linspace(-1, 1, 9)[None, :, None], 3, axis=2)

    found = reconstructed(weights, second_moments(vectors), whole((1, 3, 1)), weights == 0)

    assert found[0, 0, 0] == 0
    assert found.sum() == 1


def test_a_zero_is_where_the_zero_point_is() -> None:
    weights = np.zeros((1, 2, 1))
    slots = Slots(np.ones((1, 2, 1)), np.full((1, 2, 1), -1), -2, 1)

    found = reconstructed(weights, np.eye(2)[None], slots, weights == 0)

    np.testing.assert_array_equal(slots.values(found), np.zeros((1, 2, 1)))


def test_moments_of_one_group_hold_for_all() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 5, 2))
    moments = second_moments(rng.standard_normal((1, 50, 5)))

    together = reconstructed(weights, moments, whole(weights.shape), none_zero(weights))

    for group in range(3):
        one = weights[group : group + 1]
        alone = reconstructed(one, moments, whole(one.shape), none_zero(one))
        np.testing.assert_array_equal(together[group : group + 1], alone)


def test_damping_makes_any_moments_invertible() -> None:
    assert np.linalg.det(damped(np.zeros((1, 3, 3)))[0]) == 1
    assert np.linalg.cond(damped(np.ones((1, 3, 3)))[0]) < 1000


def test_weights_are_corrected_for_inputs_that_have_changed() -> None:
    # What now comes in is half of what came in: weights are to be doubled.
    was = np.random.default_rng(0).standard_normal((1, 200, 3))
    moments = Moments()
    moments.add(was, was / 2, products=True)
    weights = np.array([[[1.0], [-2.0], [0.5]]])

    found = corrected(weights, moments.second[0], moments.cross[0])

    # A little less: what is added to the diagonal holds them back.
    np.testing.assert_allclose(found, 2 * weights, rtol=0.06)


def test_nothing_is_corrected_where_inputs_are_as_they_were() -> None:
    was = np.random.default_rng(0).standard_normal((1, 20, 3))
    moments = Moments()
    moments.add(was, was, products=True)
    weights = np.array([[[1.0], [-2.0], [0.5]]])

    np.testing.assert_array_equal(corrected(weights, moments.second[0], moments.cross[0]), weights)


def test_moments_of_batches_add_up_and_wide_layers_are_looked_at_in_pieces() -> None:
    rng = np.random.default_rng(0)
    was, now = rng.standard_normal((2, 1, 6, WIDEST + 3))
    moments, whole_batch = Moments(), Moments()
    moments.add(was[:, :4], now[:, :4], products=True)
    moments.add(was[:, 4:], now[:, 4:], products=True)
    whole_batch.add(was, now, products=True)

    assert [piece.stop - piece.start for piece in pieces(WIDEST + 3)] == [WIDEST, 3]
    assert moments.count == 6
    np.testing.assert_allclose(moments.second[1], whole_batch.second[1])
    last = now[0, :, WIDEST:]
    np.testing.assert_allclose(moments.second[1][0], last.T @ last)


def test_the_shift_of_outputs_is_what_their_means_lost() -> None:
    moments = Moments()
    moments.add(np.array([[[1.0, 2.0], [3.0, 2.0]]]), np.array([[[1.0, 1.0]] * 2]), products=False)

    shift = output_shift(np.array([[[1.0], [0.5]]]), np.array([[[1.0], [0.0]]]), moments)

    # Means: 2 x 1 + 2 x 0.5 = 3 before, 1 x 1 + 1 x 0 = 1 now.
    np.testing.assert_allclose(shift, [[2.0]])
    assert moments.second == []


def test_moments_tell_whether_they_are_finite() -> None:
    moments = Moments()
    moments.add(np.array([[[1.0, np.nan]]]), np.array([[[1.0, 1.0]]]), products=False)

    assert not moments.is_finite
