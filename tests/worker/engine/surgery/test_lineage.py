"""What is left of uploaded weights, with numbers made by hand."""

import numpy as np

from worker.engine.surgery.lineage import Lineage


def keep(*flags: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array(flags, np.bool_)


def test_lineage_made_with_nothing_has_all_of_every_weight() -> None:
    uploaded = np.arange(6.0).reshape(2, 3)

    np.testing.assert_array_equal(Lineage().survivors("hidden/kernel", uploaded), uploaded)


def test_two_narrowings_lead_back_to_the_uploaded_entries() -> None:
    first = Lineage().narrowed({"hidden/bias": {0: keep(0, 1, 1, 0, 1)}})

    both = first.narrowed({"hidden/bias": {0: keep(1, 0, 1)}})

    np.testing.assert_array_equal(first.entries["hidden/bias"][0], [1, 2, 4])
    np.testing.assert_array_equal(both.entries["hidden/bias"][0], [1, 4])


def test_axes_are_narrowed_one_by_one() -> None:
    uploaded = np.array([[11, 12, 13], [21, 22, 23], [31, 32, 33], [41, 42, 43]])
    rows = Lineage().narrowed({"hidden/kernel": {0: keep(1, 0, 1, 1)}})

    both = rows.narrowed({"hidden/kernel": {0: keep(0, 1, 1), 1: keep(1, 0, 1)}})

    np.testing.assert_array_equal(both.survivors("hidden/kernel", uploaded), [[31, 33], [41, 43]])


def test_axis_that_stays_whole_is_not_named() -> None:
    lineage = Lineage().narrowed(
        {"hidden/kernel": {0: keep(1, 1), 1: keep(1, 0)}, "b": {0: keep(1)}}
    )

    assert {name: list(axes) for name, axes in lineage.entries.items()} == {"hidden/kernel": [1]}


def test_narrowing_leaves_the_lineage_before_as_it_was() -> None:
    before = Lineage().narrowed({"b": {0: keep(0, 1, 1)}})

    before.narrowed({"b": {0: keep(0, 1)}, "c": {0: keep(0, 1)}})

    assert list(before.entries) == ["b"]
    np.testing.assert_array_equal(before.entries["b"][0], [1, 2])


def test_foreign_weights_stay_foreign_through_a_narrowing() -> None:
    lineage = Lineage().with_foreign(["bridge/kernel"], "it is new")

    narrower = lineage.with_foreign(["other/bias"], "so is it").narrowed({"b": {0: keep(0, 1)}})

    assert narrower.foreign == {"bridge/kernel": "it is new", "other/bias": "so is it"}


def test_model_built_elsewhere_stays_so_through_a_narrowing() -> None:
    assert not Lineage(descends=False).narrowed({"b": {0: keep(0, 1)}}).descends
