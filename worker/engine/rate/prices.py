"""What whole numbers cost in a coder that knows how dense rows and columns are; pure numpy.

A coder that models each zero flag with the densities of its row, its column and the whole tensor
spends few bits where nearly everything is zero, and many on a number that stands alone there. These
are its costs in closed form, smooth enough to train against (rate-distortion training with a
learned density: Oktay et al. 2019, arXiv:1906.06624; here the density is that of the coder).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]

# Numbers that a density has seen before it looks: those of an empty row are not impossible.
PSEUDO_COUNT = 1.5
# How far a row's and a column's own odds count beside those of the tensor.
OWN_ODDS = 0.8
CHEAPEST_BITS, DEAREST_BITS = 0.3, 14.0
SIGN_BITS = 1.0


@dataclass(frozen=True, eq=False)
class Prices:
    """Bits, derived from the numbers a matrix holds now.

    first: float32, shaped like the matrix: what it costs to make a 1 (or -1) of a 0.
    further: what each level beyond that costs.
    """

    first: FloatArray
    further: float


def prices(numbers: IntArray) -> Prices:
    """Prices of the levels of each entry; numbers: [rows, columns].

    With lo = log2(p / (1 - p)) of the densities d of non-zeros and rho of a geometric law of
    magnitudes: first = clip(-(lo(d) + 0.8 (lo(d_row) - lo(d)) + 0.8 (lo(d_column) - lo(d))),
    0.3, 14) + 1 - log2(1 - rho), further = max(-log2(rho), 0.3).
    """
    rho = continuation(numbers)
    waking = np.clip(-odds(numbers), CHEAPEST_BITS, DEAREST_BITS)
    first = waking + SIGN_BITS - np.log2(1 - rho)
    return Prices(first.astype(np.float32), max(float(-np.log2(rho)), CHEAPEST_BITS))


def code_length_bits(numbers: IntArray) -> float:
    """What an ideal coder of these densities spends on a matrix, without the densities."""
    not_zero = numbers != 0
    odd = odds(numbers).astype(np.float64)
    flags = np.logaddexp2(0, np.where(not_zero, -odd, odd)).sum()
    count = int(not_zero.sum())
    rho = continuation(numbers)
    beyond = int(np.abs(numbers).sum()) - count
    magnitudes = -count * np.log2(1 - rho) - beyond * np.log2(rho)
    return float(flags + count * SIGN_BITS + magnitudes)


def odds(numbers: IntArray) -> FloatArray:
    """log2 odds that an entry is no zero, [rows, columns]."""
    not_zero = numbers != 0
    density = _density(not_zero.sum(), numbers.size, 0.5)
    whole = _log_odds(density)
    if min(numbers.shape) == 1:
        # The rows of one column are single entries, whose density is what they are.
        return np.full(numbers.shape, whole, np.float32)
    rows = _log_odds(_density(not_zero.sum(1, keepdims=True), numbers.shape[1], density))
    columns = _log_odds(_density(not_zero.sum(0, keepdims=True), numbers.shape[0], density))
    return (whole + OWN_ODDS * (rows - whole) + OWN_ODDS * (columns - whole)).astype(np.float32)


def continuation(numbers: IntArray) -> float:
    """The rho of the geometric law P(|q| = k) = (1 - rho) rho^(k - 1) with their mean."""
    count = int(np.count_nonzero(numbers))
    beyond = int(np.abs(numbers).sum()) - count
    return (beyond + PSEUDO_COUNT / 2) / (count + beyond + PSEUDO_COUNT)


def _density(count: Any, size: int, expected: Any) -> Any:
    return (count + PSEUDO_COUNT * expected) / (size + PSEUDO_COUNT)


def _log_odds(density: Any) -> Any:
    return np.log2(density / (1 - density))
