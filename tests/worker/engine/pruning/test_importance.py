"""Importance of units, on kernels made by hand."""

import numpy as np
import pytest

from worker.engine.pruning.importance import relative, unit_norms, unit_sums

# Two inputs, three outputs.
KERNEL = np.array([[1.0, -2.0, 0.0], [3.0, 4.0, 0.0]])
EACH = np.array([0, 1, 2])


def test_unit_sums_add_up_along_every_other_axis() -> None:
    assert unit_sums(KERNEL, 1, EACH, 3).tolist() == [4.0, 2.0, 0.0]
    assert unit_sums(KERNEL, 0, np.array([1, 0]), 2).tolist() == [7.0, -1.0]


def test_unit_sums_put_entries_of_one_unit_together_and_leave_out_those_of_none() -> None:
    assert unit_sums(KERNEL, 1, np.array([0, 0, -1]), 2).tolist() == [6.0, 0.0]


@pytest.mark.parametrize(
    ("norm", "expected"), [("l1", [2.0, 3.0, 0.0]), ("l2", [5.0**0.5, 10.0**0.5, 0.0])]
)
def test_unit_norms_are_means_over_the_weights_of_a_unit(norm: str, expected: list[float]) -> None:
    found = unit_norms(KERNEL, 1, EACH, 3, norm)  # type: ignore[arg-type]  # parametrized

    np.testing.assert_allclose(found, expected)


def test_unit_norms_do_not_grow_with_the_number_of_weights() -> None:
    grouped = unit_norms(KERNEL, 1, np.array([0, 0, 1]), 2, "l1")

    assert grouped.tolist() == [2.5, 0.0]


def test_unit_norms_are_nan_for_a_unit_that_the_kernel_does_not_make() -> None:
    found = unit_norms(KERNEL, 1, np.array([0, -1, 2]), 3, "l1")

    np.testing.assert_array_equal(found, [2.0, np.nan, 0.0])


def test_relative_scores_of_a_group_have_a_mean_of_one() -> None:
    found = relative({"a": np.array([[1.0, 3.0]]), "b": np.array([[10.0, 30.0]])}, {"a": 1, "b": 2})

    assert found["a"].tolist() == found["b"].tolist() == [0.5, 1.5]


def test_relative_scores_of_one_family_share_their_scale() -> None:
    found = relative({"a": np.array([[1.0, 3.0]]), "b": np.array([[4.0, 8.0]])}, {"a": 1, "b": 1})

    assert found["a"].tolist() == [0.25, 0.75]
    assert found["b"].tolist() == [1.0, 2.0]


def test_relative_scores_weigh_every_row_alike_whatever_its_scale() -> None:
    found = relative({"a": np.array([[1.0, 3.0], [300.0, 100.0]])}, {"a": 1})

    assert found["a"].tolist() == [1.0, 1.0]


def test_relative_scores_are_averaged_over_the_rows_that_know_a_unit() -> None:
    found = relative({"a": np.array([[1.0, 3.0, np.nan], [2.0, np.nan, 2.0]])}, {"a": 1})

    assert found["a"].tolist() == [0.75, 1.5, 1.0]


def test_relative_scores_of_zeros_are_zeros() -> None:
    assert relative({"a": np.zeros((2, 3))}, {"a": 1})["a"].tolist() == [0.0, 0.0, 0.0]
