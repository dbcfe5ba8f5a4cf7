"""Shifts and mirrors of small pictures, by hand."""

import numpy as np
import pytest

from app.recipes.steps.recovery import Augmentation
from worker.engine.training.augmentation import augmented

PICTURE = np.array([[0, 1], [2, 3]], np.float32)[np.newaxis, :, :, np.newaxis]
# What a shift of a row of two pixels by -1, 0 and 1 leaves: the edge is repeated.
SHIFTED = {(1, 1), (0, 1), (0, 0)}


def variants(options: Augmentation, count: int = 400) -> set[tuple[float, ...]]:
    """Every picture that comes of `PICTURE`, read row by row."""
    many = np.repeat(PICTURE, count, axis=0)
    varied = augmented(many, options, np.random.default_rng(0))
    assert varied.shape == many.shape
    return {tuple(picture.ravel().tolist()) for picture in varied}


def test_a_shift_moves_by_whole_pixels_and_repeats_the_edge() -> None:
    wanted = {
        (2 * up + left, 2 * up + right, 2 * down + left, 2 * down + right)
        for up, down in SHIFTED
        for left, right in SHIFTED
    }

    assert variants(Augmentation(shift=0.5)) == wanted


@pytest.mark.parametrize(
    ("flip", "wanted"),
    [
        ("horizontal", {(0, 1, 2, 3), (1, 0, 3, 2)}),
        ("vertical", {(0, 1, 2, 3), (2, 3, 0, 1)}),
        ("both", {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}),
    ],
)
def test_a_flip_mirrors_about_half_of_the_pictures(
    flip: str, wanted: set[tuple[float, ...]]
) -> None:
    assert variants(Augmentation.model_validate({"flip": flip})) == wanted


def test_a_shift_below_half_a_pixel_moves_nothing() -> None:
    assert variants(Augmentation(shift=0.1)) == {(0, 1, 2, 3)}


def test_pictures_of_a_batch_are_varied_each_by_itself_and_alike_for_the_same_seed() -> None:
    pictures = np.random.default_rng(1).random((8, 6, 6, 2), np.float32)
    options = Augmentation(shift=0.3, flip="both")
    first, again, other = (
        augmented(pictures, options, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
