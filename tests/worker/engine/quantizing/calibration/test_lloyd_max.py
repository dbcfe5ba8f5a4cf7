"""Levels with the least squared error, against the best of all divisions."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engine.quantizing.calibration.lloyd_max import lloyd_max, nearest, squared_error

Array = NDArray[np.float64]


def bell(size: int, center: float) -> tuple[Array, Array]:
    """Values around `center`, the middle ones most often."""
    values = np.linspace(-3.0, 3.0, size)
    return values + center, np.round(1000 * np.exp(-(values**2) / 2))


def best_error(values: Array, counts: Array, number: int) -> float:
    """Of every way to cut the values into runs, each told by its mean, or by zero for one run."""
    errors = []
    for cuts in combinations(range(1, len(values)), number - 1):
        runs = np.split(np.arange(len(values)), cuts)
        means = [np.average(values[run], weights=counts[run]) for run in runs]
        for zero in range(number):
            levels = np.sort(np.array([*means[:zero], 0.0, *means[zero + 1 :]]))
            errors.append(squared_error(values, counts, levels))
    return min(errors)


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("center", [0.1, 3.5, -5.0])
def test_lloyd_max_finds_the_best_levels_of_a_bell(number: int, center: float) -> None:
    values, counts = bell(14, center)

    levels = lloyd_max(values, counts, number)

    assert squared_error(values, counts, levels) == pytest.approx(
        best_error(values, counts, number), rel=0.02
    )


def test_lloyd_max_is_exact_where_there_are_enough_levels() -> None:
    values = np.array([0.5, 1.0, 4.0])

    np.testing.assert_array_equal(lloyd_max(values, np.array([1, 5, 2]), 4), [0, 0.5, 1, 4])


@pytest.mark.parametrize("center", [0.0, 8.0, -8.0])
def test_lloyd_max_always_has_an_exact_zero_and_rises(center: float) -> None:
    levels = lloyd_max(*bell(500, center), 16)

    assert 0.0 in levels
    assert len(levels) == 16
    assert (np.diff(levels) > 0).all()


def test_lloyd_max_tells_more_than_even_spacing() -> None:
    values, counts = bell(2000, 0.0)
    evenly = np.sort(np.append(np.linspace(-3.0, 3.0, 15), 0.01))

    found = squared_error(values, counts, lloyd_max(values, counts, 16))

    assert found < 0.7 * squared_error(values, counts, evenly)


def test_lloyd_max_leaves_no_level_idle_beyond_an_outlier() -> None:
    values, counts = bell(2000, 3.0)
    values, counts = np.append(values, 500.0), np.append(counts, 1)

    levels = lloyd_max(values, counts, 16)

    assert len(np.unique(nearest(values, levels))) >= 15


def test_nearest_takes_the_lower_of_two_equally_near() -> None:
    levels = np.array([0.0, 1.0, 3.0])

    np.testing.assert_array_equal(nearest(np.array([0.5, 0.6, 2.0, 9.0]), levels), [0, 1, 1, 3])
