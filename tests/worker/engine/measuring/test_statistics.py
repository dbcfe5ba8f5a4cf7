"""Intervals and paired tests, against values worked out apart from the code."""

import math

import pytest

from worker.engine.measuring.statistics import mcnemar_p_value, wilson_interval


def test_wilson_interval_equals_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_wilson_interval_stays_in_the_unit_interval_when_all_succeed() -> None:
    low, high = wilson_interval(10, 10)
    assert 0.72 < low < 0.73
    assert high == pytest.approx(1.0)


def test_wilson_interval_refuses_no_trials() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        wilson_interval(0, 0)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 15), (15, 5), (30, 31), (7, 7)])
def test_mcnemar_equals_the_exact_binomial_sum(b: int, c: int) -> None:
    n, k = b + c, min(b, c)
    exact = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    assert mcnemar_p_value(b, c) == pytest.approx(exact, rel=1e-9)


def test_mcnemar_neither_overflows_nor_raises_when_counts_are_large() -> None:
    assert mcnemar_p_value(50_000, 50_000) == pytest.approx(1.0)
    assert 0 < mcnemar_p_value(50_500, 49_500) < 0.01
    assert mcnemar_p_value(100_000, 0) == 0.0
