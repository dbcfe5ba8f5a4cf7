"""Whole numbers on a learned step, and the gradients through their rounding."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from worker.engine.rate.latents import LATENT_RATE, Coded, Latent, Latents, bits_of, rounded

pytestmark = pytest.mark.slow


def coded(weight: Any, *input_axes: int) -> Coded:
    return Coded("layer/kernel", keras.Variable(np.array(weight, np.float32)), input_axes)


def test_rounding_passes_gradients_on() -> None:
    latents = tf.constant([-1.6, -0.4, 0.2, 2.7])
    with tf.GradientTape() as tape:
        tape.watch(latents)
        numbers = rounded(latents)
        cost = tf.reduce_sum(numbers * tf.constant([1.0, 2.0, 3.0, 4.0]))

    assert numbers.numpy().tolist() == [-2.0, 0.0, 0.0, 3.0]
    assert tape.gradient(cost, latents).numpy().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_step_learns_from_the_weights_it_scales() -> None:
    """d(sum w) / d(log step) = sum w."""
    one = Latent(coded([[1.0, 0.5]], 0), 0.5, None)
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(one.value())

    assert tape.gradient(cost, one.log_step.value).numpy() == pytest.approx(1.5)


def test_settled_weights_are_exactly_step_times_number() -> None:
    weight = coded([[0.31, -0.29, 0.02], [-0.04, 0.92, 0.14]], 0)
    one = Latent(weight, 0.3, None)

    one.settle()

    grid = one.grid((2, 3))
    settled = weight.variable.numpy()
    assert one.numbers().tolist() == [[1, -1, 0], [0, 3, 0]]
    np.testing.assert_array_equal(settled, np.float32(0.3) * one.numbers().astype(np.float32))
    np.testing.assert_array_equal(grid.numbers(settled), one.numbers())
    assert not np.signbit(settled[1, 0])


def test_pruned_weights_stay_zero_whatever_their_latents_do() -> None:
    kept = np.array([[True, False]])
    one = Latent(coded([[1.0, 1.0]], 0), 0.5, kept)

    assert one.value().numpy().tolist() == [[1.0, 0.0]]
    assert one.numbers().tolist() == [[2, 0]]


def test_bits_are_the_price_of_each_level() -> None:
    """A half of the first level, all of it, and one and a half more."""
    one = Latent(coded([[0.5, -1.0, 2.5]], 0), 1.0, None)
    one.first.assign([[4.0, 6.0, 8.0]])
    one.further.assign(2.0)

    assert float(one.bits()) == pytest.approx(0.5 * 4 + 6 + 8 + 1.5 * 2)


def test_bits_draw_latents_to_zero_by_their_price() -> None:
    one = Latent(coded([[0.5, -0.5, 2.5]], 0), 1.0, None)
    one.first.assign([[4.0, 6.0, 8.0]])
    one.further.assign(2.0)
    with tf.GradientTape() as tape:
        bits = one.bits()

    drawn = tape.gradient(bits, one.slow.value).numpy() / LATENT_RATE
    assert drawn.tolist() == [[4.0, -6.0, 2.0]]


def test_penalty_is_the_bits_of_all_at_their_cost() -> None:
    latents = Latents([Latent(coded([[2.0]], 0), 1.0, None), Latent(coded([1.0], 0), 1.0, None)])
    for one in latents.each:
        one.first.assign(np.full(one.coded.shape, 3.0, np.float32))
        one.further.assign(1.0)
    latents.bit_cost.assign(0.5)

    assert float(latents.penalty()) == pytest.approx(0.5 * ((3 + 1) + 3))


def test_prices_come_from_the_numbers_as_the_kernel_is_read() -> None:
    """A kernel [2, 3, 4] with its inputs on the first two axes is a matrix of 6 x 4."""
    weight = np.zeros((2, 3, 4))
    weight[1, 2] = 1.0
    one = Latent(coded(weight, 0, 1), 1.0, None)

    one.renew_prices()

    first = one.first.numpy()
    assert first.shape == (2, 3, 4)
    assert (first[1, 2] < first.min(axis=(0, 1), where=weight == 0, initial=99)).all()


@pytest.mark.parametrize(
    ("numbers", "bits"), [([0], 2), ([1, -2], 2), ([2], 3), ([-3], 3), ([-4, 3], 3), ([-5], 4)]
)
def test_bits_of_numbers_are_the_fewest_they_fit_into(numbers: list[int], bits: int) -> None:
    assert bits_of(np.array(numbers)) == bits
