"""Variation of training images; pure numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.recipes.steps.recovery import Augmentation

Array = NDArray[Any]


def augmented(images: Array, options: Augmentation, rng: np.random.Generator) -> Array:
    """Every image shifted by whole pixels and mirrored by chance; a new array.

    images: [rows, height, width, channels]. Where a shift leaves nothing, the edge is repeated:
    what a background is, the data does not say.
    """
    rows, height, width, _ = images.shape
    vertical = _places(rows, height, options, rng, can_flip=options.flip in ("vertical", "both"))
    horizontal = _places(rows, width, options, rng, can_flip=options.flip in ("horizontal", "both"))
    each = np.arange(rows)[:, np.newaxis, np.newaxis]
    return images[each, vertical[:, :, np.newaxis], horizontal[:, np.newaxis, :]]


def _places(
    rows: int, length: int, options: Augmentation, rng: np.random.Generator, *, can_flip: bool
) -> NDArray[np.int64]:
    """Where each pixel of an axis is taken from, [rows, length]."""
    largest = round(options.shift * length)
    shifts = rng.integers(-largest, largest, (rows, 1), endpoint=True)
    places = np.clip(np.arange(length) - shifts, 0, length - 1)
    if not can_flip:
        return places
    return np.where(rng.random((rows, 1)) < 0.5, places[:, ::-1], places)
