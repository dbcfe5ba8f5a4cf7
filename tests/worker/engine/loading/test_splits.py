"""Rows as a model is fed with them, and how rows are divided."""

import numpy as np
import pytest

from app.recipes.division import rows_set_aside
from worker.engine.loading.splits import Column, Split, strata, stratified_order

RNG = np.random.default_rng(0)


def split_of(rows: int, *, scale: float = 1.0, offset: float = 0.0) -> Split:
    pictures = (np.arange(rows * 4) % 251).astype("uint8").reshape(rows, 2, 2)
    column = Column(pictures, (2, 2, 1), np.dtype("float32"), scale, offset)
    labels = {"digit": np.arange(rows) % 4}
    return Split({"picture": column}, labels, np.arange(rows))


def test_column_scales_batches_and_leaves_what_is_stored() -> None:
    column = Column(np.array([[0], [255]], "uint8"), (1,), np.dtype("float32"), 1 / 255, -0.5)

    fed = column.fed(np.array([1, 0]))

    assert fed.dtype == np.float32
    np.testing.assert_allclose(fed, [[0.5], [-0.5]])
    assert column.values.dtype == np.uint8


def test_column_adds_the_channel_axis_to_what_is_fed() -> None:
    assert split_of(8).take(3)["picture"].shape == (3, 2, 2, 1)


def test_column_keeps_whole_numbers_where_the_model_takes_them() -> None:
    column = Column(np.array([[7]], "uint8"), (1,), np.dtype("int32"))

    assert column.fed(np.array([0])).dtype == np.int32


def test_batches_pair_inputs_with_their_labels_and_end_with_a_smaller_one() -> None:
    batches = list(split_of(10).batches(4))

    assert [len(labels["digit"]) for _, labels in batches] == [4, 4, 2]
    np.testing.assert_array_equal(batches[2][1]["digit"], [0, 1])
    np.testing.assert_array_equal(batches[2][0]["picture"][0].ravel(), [32, 33, 34, 35])


def test_divided_gives_every_row_to_one_side_with_its_label() -> None:
    rest, aside = split_of(20).divided(0.25, seed=3)

    assert aside is not None
    assert sorted([*rest.rows, *aside.rows]) == list(range(20))
    np.testing.assert_array_equal(aside.labels["digit"], aside.rows % 4)


def test_divided_holds_each_class_in_its_share() -> None:
    rest, aside = split_of(400).divided(0.1, seed=3)

    assert aside is not None
    np.testing.assert_array_equal(np.bincount(aside.labels["digit"]), [10, 10, 10, 10])
    assert len(rest) == 360


def test_divided_is_the_same_for_the_same_seed_alone() -> None:
    first, again, other = (split_of(100).divided(0.3, seed=seed)[1] for seed in (1, 1, 2))

    assert first is not None
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(first.rows, again.rows)
    assert not np.array_equal(first.rows, other.rows)


def test_divided_puts_a_smaller_share_inside_a_larger_one() -> None:
    small, large = (split_of(100).divided(share, seed=5)[1] for share in (0.1, 0.3))

    assert small is not None
    assert large is not None
    assert set(small.rows) < set(large.rows)


def test_divided_sets_nothing_aside_when_the_share_rounds_to_no_row() -> None:
    rest, aside = split_of(4).divided(0.1, seed=0)

    assert aside is None
    assert len(rest) == 4


@pytest.mark.parametrize(("rows", "fraction"), [(1, 0.9), (2, 0.9), (3, 0.5), (25, 0.1)])
def test_divided_sets_aside_as_many_rows_as_the_plan_counts(rows: int, fraction: float) -> None:
    _, aside = split_of(rows).divided(fraction, seed=0)
    assert len(aside or ()) == rows_set_aside(rows, fraction)


def test_divided_twice_never_leaves_the_first_part() -> None:
    train, test = split_of(50).divided(0.2, seed=0)
    rest, validation = train.divided(0.2, seed=9)

    assert test is not None
    assert validation is not None
    assert not set(test.rows) & ({*rest.rows} | {*validation.rows})


def test_stratified_order_holds_classes_in_their_share_when_they_are_uneven() -> None:
    classes = np.repeat([0, 1], [90, 10])

    order = stratified_order(classes, np.random.default_rng(0))

    assert sorted(order) == list(range(100))
    assert abs(int(classes[order[:50]].sum()) - 5) <= 1


def test_strata_reads_class_numbers_and_hot_columns_and_leaves_real_values_together() -> None:
    np.testing.assert_array_equal(strata(np.array([2, 0])), [2, 0])
    np.testing.assert_array_equal(strata(np.array([[0, 1], [1, 0]])), [1, 0])
    np.testing.assert_array_equal(strata(np.array([0.5, 7.25])), [0, 0])


def test_sample_is_drawn_from_all_classes_when_rows_are_sorted_by_class() -> None:
    split = split_of(40)
    by_class = split.select(np.argsort(split.labels["digit"], kind="stable"))

    sample = by_class.sample(8, seed=1)["picture"]

    # The first pixel of stored row r is 4 r, so its class is pixel / 4 modulo 4.
    np.testing.assert_array_equal(np.bincount((sample[:, 0, 0, 0] / 4 % 4).astype(int)), [2] * 4)


def test_batch_size_is_smaller_for_rows_that_are_large() -> None:
    """Rows of 4 MiB: four of them are 16 MiB."""
    large = Column(np.zeros((1, 1)), (1024, 1024), np.dtype("float32"))
    small = Column(np.zeros((1, 1)), (4,), np.dtype("float32"))

    assert Split({"x": large}, {}, np.arange(1)).batch_size(256) == 4
    assert Split({"x": small}, {}, np.arange(1)).batch_size(256) == 256
    assert Split({"x": large, "y": large}, {}, np.arange(1)).batch_size(256) == 2
