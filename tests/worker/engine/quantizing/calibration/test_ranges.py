"""Ranges from histograms: against values worked out by hand and by trying everything."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engine.quantizing.calibration.histogram import Histogram
from worker.engine.quantizing.calibration.ranges import (
    Limits,
    Rounding,
    least_divergence,
    least_squares,
    min_max,
    moving_average,
    percentile,
)
from worker.engine.quantizing.mappings import Linear, MuLaw

Values = NDArray[np.float32]


def histogram_of(values: NDArray[Any]) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    return histogram


def linear(limits: Limits, num_bits: int = 4) -> Rounding:
    return Linear(*limits, num_bits).rounded


def on_a_logarithm(limits: Limits) -> Rounding:
    return MuLaw(limits.high, is_signed=False, num_bits=4, mu=255.0).rounded


def error(values: Values, limits: Limits) -> float:
    """The mean square of what four bits lose."""
    return float(((linear(limits)(values) - values) ** 2).mean())


def normal(count: int = 20_000) -> Values:
    return np.random.default_rng(5).standard_normal(count).astype("float32")


@pytest.mark.parametrize(
    ("values", "limits"),
    [([1.0, 3.0], (0.0, 3.0)), ([-3.0, -1.0], (-3.0, 0.0)), ([-1.0, 2.0], (-1.0, 2.0))],
)
def test_min_max_holds_all_values_and_zero(
    values: list[float], limits: tuple[float, float]
) -> None:
    assert min_max(histogram_of(np.array(values))) == limits


def test_moving_average_follows_batches_but_slowly() -> None:
    histogram = Histogram()
    for peak in (1.0, 1.0, 11.0):
        histogram.add(np.array([-peak, peak], np.float32))

    assert moving_average(histogram) == pytest.approx((-2.0, 2.0))


def test_percentile_cuts_the_same_share_off_either_end() -> None:
    values = np.arange(-1000, 1001) / 1000

    low, high = percentile(histogram_of(values), 95.0)

    assert low == pytest.approx(-0.9, abs=2e-3)
    assert high == pytest.approx(0.9, abs=2e-3)


def test_percentile_of_values_above_zero_starts_at_zero() -> None:
    assert percentile(histogram_of(np.linspace(1, 2, 1000)), 99.0).low == 0.0


def test_least_squares_is_not_beaten_by_any_range_that_is_tried() -> None:
    values = normal()
    values[0] = 12.0

    found = least_squares(histogram_of(values), linear)
    tried = [
        error(values, Limits(low, high))
        for low in np.linspace(-4.2, -1.0, 33)
        for high in np.linspace(1.0, 12.0, 111)
    ]
    assert error(values, found) <= min(tried) * 1.01
    assert error(values, found) < error(values, min_max(histogram_of(values))) / 4


@pytest.mark.parametrize("outlier", [1e2, 1e5])
def test_one_value_far_out_does_not_blind_any_method(outlier: float) -> None:
    values = np.abs(normal(100_000))
    values[7] = outlier
    histogram, rounding = histogram_of(values), partial(linear, num_bits=8)

    assert percentile(histogram, 99.9).high == pytest.approx(3.3, abs=0.1)
    assert 2.0 < least_divergence(histogram, rounding).high < 8.0
    # Cutting 1e5 off would cost more than all others are.
    if outlier == 1e2:
        assert 20.0 < least_squares(histogram, rounding).high < outlier


def test_least_squares_keeps_the_whole_range_where_rounding_costs_less_than_cutting() -> None:
    values = np.random.default_rng(1).uniform(0.0, 1.0, 10_000).astype("float32")

    assert least_squares(histogram_of(values), linear).high > 0.9


def test_least_squares_is_that_of_the_mapping_it_is_for() -> None:
    values = np.abs(normal())
    values[0] = 12.0

    # Large values cost a logarithmic scale little.
    evenly = least_squares(histogram_of(values), linear).high
    assert least_squares(histogram_of(values), on_a_logarithm).high > 1.2 * evenly


def test_least_divergence_draws_in_from_an_outlier() -> None:
    values = normal()
    values[0] = 12.0
    histogram = histogram_of(values)

    found = least_divergence(histogram, partial(linear, num_bits=8))

    assert 2.5 < found.high < 6.0
    assert min_max(histogram).high == 12.0


def test_least_divergence_keeps_what_levels_tell_without_loss() -> None:
    """Two values, as far apart as the range: cutting either off would tell less."""
    values = np.repeat([0.25, 1.0], 500)

    assert least_divergence(histogram_of(values), linear).high == 1.0


def test_least_divergence_does_not_hear_of_exact_zeros() -> None:
    values = np.abs(normal())
    values[0] = 12.0
    rounding = partial(linear, num_bits=8)

    without = least_divergence(histogram_of(values), rounding)
    with_zeros = np.concatenate([values, np.zeros(10 * len(values), np.float32)])

    assert least_divergence(histogram_of(with_zeros), rounding) == without


def test_least_divergence_of_few_values_keeps_most_of_them() -> None:
    """With so few, a narrow range may hold a single one, which it tells perfectly."""
    values = normal(200)

    found = least_divergence(histogram_of(values), partial(linear, num_bits=8))

    assert found.high > 0.5 * values.max()


def test_sixteen_bits_keep_the_whole_range() -> None:
    values = normal()
    histogram, rounding = histogram_of(values), partial(linear, num_bits=16)

    assert least_divergence(histogram, rounding) == min_max(histogram)
    assert least_squares(histogram, rounding).high > 0.9 * values.max()
