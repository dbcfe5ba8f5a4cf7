"""Weights to integers, each by itself."""

import numpy as np

from worker.engine.quantizing.weights.rounding import nearest, stochastic

ZERO = np.zeros((), np.int32)


def test_nearest_rounds_halves_to_even_and_clips_at_the_ends() -> None:
    weights = np.array([0.25, 0.75, -0.8, 9.0, -9.0])

    found = nearest(weights, np.array(0.5), ZERO, -3, 3)

    np.testing.assert_array_equal(found, [0, 2, -2, 3, -3])


def test_nearest_counts_from_the_zero_point() -> None:
    found = nearest(np.array([0.0, 0.5, -0.5]), np.array(0.5), np.array(-1), -2, 1)

    np.testing.assert_array_equal(found, [-1, 0, -2])


def test_stochastic_goes_up_as_often_as_the_fraction_says() -> None:
    weights = np.full(20_000, 0.3)

    found = stochastic(weights, np.array(1), ZERO, -3, 3, np.random.default_rng(0))

    assert set(found) == {0, 1}
    # Five standard errors of the mean.
    assert abs(found.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / len(weights))


def test_stochastic_leaves_what_lies_on_the_grid() -> None:
    numbers = np.tile(np.arange(-127, 128), 10_000)
    scale = np.array(0.1, np.float32)

    found = stochastic(
        scale * numbers.astype(np.float32), scale, ZERO, -127, 127, np.random.default_rng(0)
    )

    np.testing.assert_array_equal(found, numbers)


def test_stochastic_clips_and_repeats_for_the_same_generator() -> None:
    weights = np.linspace(-5, 5, 101)

    one, same = (
        stochastic(weights, np.array(1), ZERO, -3, 3, np.random.default_rng(4)) for _ in range(2)
    )

    np.testing.assert_array_equal(one, same)
    assert (one.min(), one.max()) == (-3, 3)
