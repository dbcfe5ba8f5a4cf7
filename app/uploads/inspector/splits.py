"""How many rows train and how many test; the engine divides by the same rule."""

from typing import NamedTuple

from app.errors import RejectedUpload

MIN_TRAIN_ROWS = 10


class Rows(NamedTuple):
    train: int
    test: int


def divided(rows: int, test_fraction: float) -> Rows:
    """Of a file without a test split.

    Raises: RejectedUpload.
    """
    test = round(rows * test_fraction)
    return enough(Rows(rows - test, test))


def set_aside_note(rows: Rows) -> str:
    return f"{rows.test} of {rows.train + rows.test} rows are set aside for testing"


def enough(rows: Rows) -> Rows:
    """The same, if both sides have rows to work with.

    Raises: RejectedUpload.
    """
    if rows.train < MIN_TRAIN_ROWS or rows.test < 1:
        raise RejectedUpload(
            f"{rows.train} rows would be trained on and {rows.test} tested",
            hint=f"At least {MIN_TRAIN_ROWS} training rows and 1 test row are needed.",
        )
    return rows
