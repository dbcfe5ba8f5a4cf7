"""Which units go: by share, by rank over all layers, and for a target of multiply-accumulates."""

from collections.abc import Sequence

import numpy as np
import pytest

from worker.engine.pruning.selection import (
    Candidate,
    Cut,
    Scope,
    cuts,
    cuts_for_macs,
    cuts_for_ratio,
    keep_masks,
)


def candidate(name: str, scores: Sequence[float], **fields: int) -> Candidate:
    return Candidate(name, np.array(scores), **{"before": len(scores), **fields})


def widths(made: Sequence[Cut]) -> dict[str, int]:
    return {cut.group: cut.width for cut in made}


def chosen(ratio: float, *candidates: Candidate, scope: Scope = "per_layer") -> dict[str, int]:
    units = round(ratio * sum(one.before for one in candidates))
    return widths(cuts_for_ratio(cuts(candidates, scope), ratio, scope, units))


@pytest.mark.parametrize(
    ("count", "multiple", "expected"),
    [
        (4, 1, (4, 3, 2, 1)),
        (10, 4, (10, 8, 4)),
        (8, 8, (8,)),
        (3, 8, (3,)),
        (1, 1, (1,)),
    ],
)
def test_widths_are_multiples_and_never_nothing(
    count: int, multiple: int, expected: tuple[int, ...]
) -> None:
    assert candidate("a", [1.0] * count, multiple=multiple).widths == expected


@pytest.mark.parametrize(
    ("ratio", "left"), [(0.0, 10), (0.04, 10), (0.25, 8), (0.3, 7), (0.5, 5), (0.99, 1)]
)
def test_ratio_per_layer_takes_the_nearest_count_of_each(ratio: float, left: int) -> None:
    assert chosen(ratio, candidate("a", range(10))).get("a", 10) == left


def test_ratio_per_layer_rounds_to_the_nearest_multiple() -> None:
    wide = candidate("a", range(32), multiple=8)

    assert chosen(0.3, wide)["a"] == 24
    assert chosen(0.6, wide)["a"] == 16


def test_ratio_per_layer_refers_to_the_width_before_the_first_round() -> None:
    assert chosen(0.5, candidate("a", range(6), before=8))["a"] == 4


def test_ratio_over_all_layers_takes_the_lowest_scores_wherever_they_are() -> None:
    low, high = candidate("low", [0.1, 0.2, 0.3, 2.0]), candidate("high", [0.9, 0.8, 1.5, 1.6])

    assert chosen(0.5, low, high, scope="global") == {"low": 1, "high": 3}


def test_ratio_over_all_layers_leaves_one_unit_of_each() -> None:
    low, high = candidate("low", [0.1, 0.1]), candidate("high", [5.0, 6.0, 7.0, 8.0])

    assert chosen(0.5, low, high, scope="global") == {"low": 1, "high": 2}


def test_ratio_over_all_layers_takes_whole_steps_of_a_multiple() -> None:
    low, high = candidate("low", [0.1] * 8, multiple=4), candidate("high", [1.0] * 8, multiple=4)

    assert chosen(0.25, low, high, scope="global") == {"low": 4}


def test_keep_masks_drop_the_lowest_and_of_equal_ones_the_first() -> None:
    one = candidate("a", [3.0, 1.0, 1.0, 2.0])

    masks = keep_masks([one], [Cut("a", width=3, taken=1, rank=0.0)])

    assert masks["a"].tolist() == [True, False, True, True]


def test_keep_masks_leave_out_what_is_not_cut() -> None:
    assert keep_masks([candidate("a", [1.0, 2.0])], []) == {}


# Two layers in a row: 100 units each make 100 x 100 products between them, and 50 a unit outside.
FINE = (candidate("a", range(100)), candidate("b", range(100)))


def macs(made: Sequence[Cut]) -> float:
    left = {"a": 100, "b": 100} | widths(made)
    return 50 * left["a"] + left["a"] * left["b"] + 50 * left["b"]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("scope", ["per_layer", "global"])
def test_macs_reach_the_target_within_two_percent(scope: Scope, share: float) -> None:
    made = cuts_for_macs(cuts(FINE, scope), macs, share * 20_000)

    assert macs(made) == pytest.approx(share * 20_000, rel=0.02)


def test_macs_pass_over_a_step_that_is_too_large() -> None:
    # The first cut halves everything; the others are small.
    coarse = candidate("coarse", [0.0, 0.0], before=1)
    order = [*cuts([coarse], "global"), *cuts([candidate("fine", range(1, 101))], "global")]

    def left(made: Sequence[Cut]) -> float:
        found = {"coarse": 2, "fine": 100} | widths(made)
        return found["coarse"] / 2 * found["fine"]

    made = cuts_for_macs(order, left, 90.0)

    assert left(made) == pytest.approx(90, rel=0.02)
    assert "coarse" not in widths(made)


def test_macs_leave_the_most_that_is_below_a_target_out_of_reach() -> None:
    order = cuts([candidate("a", range(4)), candidate("b", range(4))], "per_layer")

    def left(made: Sequence[Cut]) -> float:
        found = {"a": 4, "b": 4} | widths(made)
        return 10 * found["a"] + 11 * found["b"]

    # 84 in all: 74 without a unit of a, 73 without one of b.
    assert left(cuts_for_macs(order, left, 80.0)) == 74
    assert left(cuts_for_macs(order, left, 1.0)) == 21


def test_macs_cut_nothing_where_no_more_than_the_target_is_there() -> None:
    assert cuts_for_macs(cuts(FINE, "per_layer"), macs, 20_000) == ()
