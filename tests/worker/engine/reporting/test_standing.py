"""When a model stands clearly lower than another on validation rows, and what is said of it."""

import pytest

from worker.engine.reporting.standing import Fall, Standing


def accuracy(score: float, rows: int) -> Standing:
    return Standing(score, rows, is_accuracy=True)


# 0.90 and 0.87 differ by 1.96 standard errors of their difference at about 870 rows.
@pytest.mark.parametrize(
    ("score", "rows", "is_clear"),
    [(0.87, 700, False), (0.87, 1100, True), (0.89, 100_000, False), (0.93, 1100, False)],
)
def test_accuracy_is_clearly_below_when_the_fall_is_notable_and_no_chance(
    score: float, rows: int, is_clear: bool
) -> None:
    assert accuracy(score, rows).is_clearly_below(accuracy(0.90, rows)) is is_clear


def test_accuracy_is_judged_by_the_fewer_rows() -> None:
    assert not accuracy(0.87, 100).is_clearly_below(accuracy(0.90, 10_000))


def test_r2_is_clearly_below_when_the_fall_is_notable() -> None:
    assert Standing(-3.0, 20, is_accuracy=False).is_clearly_below(Standing(0.9, 20, False))
    assert not Standing(0.89, 20, is_accuracy=False).is_clearly_below(Standing(0.9, 20, False))


@pytest.mark.parametrize("is_trained", [True, False])
def test_fall_names_the_step_and_both_figures(is_trained: bool) -> None:
    fall = Fall(2, "layer_removal", accuracy(0.955, 400), accuracy(0.1825, 400), is_trained)

    said = fall.sentence()

    assert said.startswith(
        "Step 2 (layer_removal) lowered the accuracy on 400 validation rows from 0.9550 to 0.1825."
    )
    assert ("Nothing trained" in said) is not is_trained
