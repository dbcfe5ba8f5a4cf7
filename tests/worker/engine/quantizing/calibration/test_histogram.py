"""Counting values in memory that does not grow."""

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engine.quantizing.calibration.histogram import Histogram

FOUR = np.array([-1.0, 0.0, 0.5, 3.0], np.float32)


def filled(*batches: NDArray[np.float32], bins: int = 4) -> Histogram:
    histogram = Histogram(bins, octaves=3)
    for batch in batches:
        histogram.add(batch)
    return histogram


def test_histogram_counts_each_side_from_an_edge_at_zero() -> None:
    histogram = filled(FOUR)

    centers, counts = histogram.filled()

    # The limit is 4, the next power of two: a quarter of a unit up to 2, half a unit beyond.
    np.testing.assert_array_equal(centers, [-1.125, 0.625, 3.25])
    np.testing.assert_array_equal(filled(FOUR).filled_widths(), [0.25, 0.25, 0.5])
    np.testing.assert_array_equal(counts, [1, 1, 1])
    assert (histogram.zeros, histogram.total) == (1, 4)


def test_histogram_counts_a_value_on_its_limit() -> None:
    centers, counts = filled(np.array([4.0], np.float32)).filled()

    np.testing.assert_array_equal(centers, [3.75])
    np.testing.assert_array_equal(counts, [1])


def test_histogram_merges_pairs_when_a_larger_value_comes() -> None:
    grown = filled(FOUR, np.array([-16.0], np.float32))
    at_once = filled(np.append(FOUR, np.float32(-16.0)))

    for ours, theirs in zip(grown.filled(), at_once.filled(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert grown.limit == 16.0
    assert grown.total == 5


def test_histogram_takes_no_more_memory_for_larger_values() -> None:
    histogram = filled(FOUR)
    before = histogram.memory_bytes

    histogram.add(np.full(10_000, 1e30, np.float32))

    assert histogram.memory_bytes == before
    assert histogram.total == 10_004


def test_histogram_keeps_extremes_exactly_and_averages_them_by_batch() -> None:
    histogram = filled(np.array([0.0, 1.0], np.float32), np.array([-2.0, 2.0], np.float32))

    assert (histogram.low, histogram.high) == (-2.0, 2.0)
    # The first batch, then a tenth of the way to the second.
    assert histogram.average_low == pytest.approx(-0.2)
    assert histogram.average_high == pytest.approx(1.1)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.999])
def test_quantile_is_that_of_the_values_to_the_width_of_a_bin(share: float) -> None:
    values = np.random.default_rng(3).standard_normal(20_000).astype("float32")
    values[:5_000] = 0.0
    histogram = filled(*np.split(values, 10), bins=4096)

    assert histogram.quantile(share) == pytest.approx(np.quantile(values, share), abs=5e-3)


@pytest.mark.parametrize("outlier", [1e3, -1e5, 1e7])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_value_far_out_leaves_fine_bins_to_the_others(outlier: float, is_first: bool) -> None:
    values = np.abs(np.random.default_rng(3).standard_normal(100_000)).astype("float32")
    batches = [values, np.array([outlier], np.float32)]
    histogram = Histogram()
    for batch in reversed(batches) if is_first else batches:
        histogram.add(batch)

    found = histogram.quantile(0.999)

    assert found == pytest.approx(np.quantile(values, 0.999), abs=0.1)


def test_quantile_ends_at_the_extremes() -> None:
    histogram = filled(FOUR)

    assert histogram.quantile(0.0) == -1.0
    assert histogram.quantile(1.0) == 3.0


def test_histogram_of_zeros_has_no_filled_bin() -> None:
    histogram = filled(np.zeros(7, np.float32))

    assert histogram.total == histogram.zeros == 7
    assert len(histogram.filled()[0]) == 0
    assert histogram.quantile(0.5) == 0.0
