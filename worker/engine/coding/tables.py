"""The tables of the coder's integer arithmetic: logistic function, its inverse, adaption rates."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]

# The logistic domain: natural log odds in steps of 1 / 256, cut off at odds of about 1 : 60,000.
STEPS = 256
LIMIT = 2815
# Probabilities have 16 bits; none is nearer to 0 or 1 than this, so that every bit can be coded.
SCALE = 1 << 16
LEAST = 16
# A slot adapts by 1 / (n + 1.6) when it was used n times.
MOST_USES = 1023


@cache
def squash_table() -> Table:
    """Entry `LIMIT + x`: the 16-bit probability at log odds `x / STEPS`."""
    return _table(range(-LIMIT, LIMIT + 1), lambda x: SCALE / (1 + math.exp(-x / STEPS)), 0, SCALE)


@cache
def stretch_table() -> Table:
    """Entry `p`: the log odds, in steps, of the 16-bit probability `p`."""
    return _table(
        range(SCALE),
        lambda p: STEPS * math.log((p + 0.5) / (SCALE - p - 0.5)),
        -LIMIT,
        LIMIT,
    )


@cache
def rate_table() -> Table:
    """Entry `n`: `SCALE / (n + 1.6)`, how far a slot used n times moves towards a new bit."""
    return _table(range(MOST_USES + 1), lambda n: SCALE / (n + 1.6), 0, SCALE)


def _table(entries: range, formula: Callable[[int], float], least: int, most: int) -> Table:
    table = np.array([min(max(round(formula(k)), least), most) for k in entries], dtype=np.int64)
    table.flags.writeable = False
    return table
