"""How many rows a division sets aside, and what that leaves to train on."""

import pytest

from app.recipes.division import rows_set_aside
from app.recipes.steps.recovery import Recovery, optimizer_steps


@pytest.mark.parametrize(
    ("rows", "fraction", "expected"),
    [(100, 0.1, 10), (4, 0.1, 0), (1, 0.5, 0), (1, 0.9, 0), (2, 0.9, 0), (3, 0.5, 2), (10, 0, 0)],
)
def test_rows_set_aside_leaves_rows_on_the_other_side(
    rows: int, fraction: float, expected: int
) -> None:
    assert rows_set_aside(rows, fraction) == expected


@pytest.mark.parametrize(("rows", "expected"), [(1000, 3 * 15), (4, 3), (1, 3)])
def test_optimizer_steps_count_batches_of_the_rows_that_are_trained_on(
    rows: int, expected: int
) -> None:
    training = Recovery(epochs=3, batch_size=64, validation_fraction=0.1)
    assert optimizer_steps(rows, training) == expected
