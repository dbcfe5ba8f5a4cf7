"""Rows for a model without data: of the types, shapes and numbers that its inputs take."""

import numpy as np

from app.recipes.facts import TensorSpec
from worker.engine.loading.splits import Array, fed_type

RANDOM_ROWS = 256
# Where a length is open. A sequence may have any; a picture is halved until nothing is left of it,
# which takes 75 pixels at the most in the networks of keras.applications.
OPEN_LENGTH, OPEN_SIDE = 16, 96
SIDES = 2
# Numbers that every type holds exactly.
MAX_NUMBER = 128


def random_rows(spec: TensorSpec, table_size: int | None, rng: np.random.Generator) -> Array:
    """What an input may be given, [RANDOM_ROWS, ...].

    Args:
        table_size: the rows of the table that the input chooses from; null where it chooses none.
    """
    shape = spec.shape or ()
    length = OPEN_SIDE if shape.count(None) == SIDES else OPEN_LENGTH
    size = (RANDOM_ROWS, *(length if axis is None else axis for axis in shape))
    dtype = fed_type(spec.dtype)
    if table_size is not None:
        return rng.integers(0, min(table_size, MAX_NUMBER), size).astype(dtype)
    if dtype.kind in "fc":
        return rng.standard_normal(size).astype(dtype)
    # 0 and 1 are the numbers that every vocabulary has.
    return rng.integers(0, 2, size).astype(dtype)
