"""Prices of whole numbers, computed by hand."""

import numpy as np
import pytest

from worker.engine.rate.prices import code_length_bits, continuation, odds, prices

# Three of four rows are empty, and so is one of two columns.
NUMBERS = np.array([[2, 0], [0, 0], [0, 0], [0, 0]])


def log_odds(count: float, size: int, expected: float) -> float:
    density = (count + 1.5 * expected) / (size + 1.5)
    return float(np.log2(density / (1 - density)))


def test_odds_follow_rows_and_columns() -> None:
    density = (1 + 0.75) / (8 + 1.5)
    whole = log_odds(1, 8, 0.5)
    row, column = log_odds(1, 2, density), log_odds(1, 4, density)
    empty_row, empty_column = log_odds(0, 2, density), log_odds(0, 4, density)

    found = odds(NUMBERS)

    assert found[0, 0] == pytest.approx(whole + 0.8 * (row - whole) + 0.8 * (column - whole))
    assert found[3, 1] == pytest.approx(
        whole + 0.8 * (empty_row - whole) + 0.8 * (empty_column - whole)
    )


def test_continuation_is_that_of_the_mean_magnitude() -> None:
    """Magnitudes 1, 1, 3, 3 have the mean 2, so half of the levels go on; shrunk to a half."""
    assert continuation(np.array([[1, -1], [3, -3]])) == pytest.approx((4 + 0.75) / (8 + 1.5))


def test_price_of_a_first_level_is_its_odds_its_sign_and_its_end() -> None:
    found = prices(NUMBERS)
    rho = (1 + 0.75) / (2 + 1.5)

    waking = np.clip(-odds(NUMBERS), 0.3, 14)
    np.testing.assert_allclose(found.first, waking + 1 - np.log2(1 - rho), rtol=1e-6)
    assert found.further == pytest.approx(-np.log2(rho))


def test_price_is_highest_where_row_and_column_are_empty() -> None:
    first = prices(NUMBERS).first

    assert first[1, 1] > first[1, 0] > first[0, 0]
    assert first[1, 1] > first[0, 1] > first[0, 0]


def test_prices_of_an_empty_matrix_are_finite_and_high() -> None:
    found = prices(np.zeros((300, 100), np.int32))

    assert np.isfinite(found.first).all()
    assert found.first.min() > 14


def test_prices_of_one_column_know_its_density_alone() -> None:
    first = prices(np.array([[1], [0], [0], [0]])).first

    assert np.unique(first).size == 1


def test_code_length_of_fair_flags_is_one_bit_each_and_one_for_each_sign() -> None:
    """Half of a column is 1 or -1: a bit a flag, a bit a sign, and little for the magnitudes."""
    column = np.tile([[0], [1], [0], [-1]], (250, 1))

    assert code_length_bits(column) == pytest.approx(1000 + 500, rel=0.01)


def test_code_length_falls_where_numbers_share_rows() -> None:
    scattered, together = np.zeros((2, 40, 40), np.int32)
    np.fill_diagonal(scattered, 1)
    together[3] = 1

    assert code_length_bits(together) < 0.7 * code_length_bits(scattered)
