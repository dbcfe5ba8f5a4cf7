"""What is kept of the inputs of a layer: sums over samples, as much as reconstruction reads."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

# Inputs whose products are taken together. Of wider layers pieces are looked at one by one, for the
# matrix grows with the square of its width and its inverse with the cube.
WIDEST = 2048


@dataclass(eq=False)
class Moments:
    """Sums over samples of x, what a layer is given in the model as it was, and x~, as it is now.

    Lists have one entry a piece of at most `WIDEST` inputs, each [groups or 1, inputs, inputs].
    `second`: sum x~ x~^T. `cross`: sum x~ (x - x~)^T. The means are [groups or 1, inputs].
    """

    count: int = 0
    second: list[FloatArray] = field(default_factory=list)
    cross: list[FloatArray] = field(default_factory=list)
    sum_before: FloatArray | None = None
    sum_now: FloatArray | None = None

    def add(self, before: FloatArray, now: FloatArray, *, products: bool) -> None:
        """Count samples in, [groups or 1, samples, inputs]; without `products` the sums alone."""
        x, y = before.astype(np.float64), now.astype(np.float64)
        self.count += x.shape[1]
        self.sum_before = _sum(self.sum_before, x.sum(axis=1))
        self.sum_now = _sum(self.sum_now, y.sum(axis=1))
        for number, piece in enumerate(pieces(x.shape[2]) if products else ()):
            seen, moved = y[:, :, piece], x[:, :, piece] - y[:, :, piece]
            across = seen.transpose(0, 2, 1)
            _add_to(self.second, number, across @ seen)
            _add_to(self.cross, number, across @ moved)

    def means(self) -> tuple[FloatArray, FloatArray]:
        """Of x and of x~; there must be samples."""
        assert self.sum_before is not None
        assert self.sum_now is not None
        return self.sum_before / self.count, self.sum_now / self.count

    @property
    def is_finite(self) -> bool:
        sums = (part for part in (self.sum_before, self.sum_now) if part is not None)
        return all(bool(np.isfinite(part).all()) for part in (*sums, *self.second, *self.cross))


def pieces(inputs: int) -> Iterator[slice]:
    for start in range(0, inputs, WIDEST):
        yield slice(start, min(start + WIDEST, inputs))


def output_shift(before: FloatArray, now: FloatArray, moments: Moments) -> FloatArray:
    """Mean of W^T x minus mean of V^T x~ for every output, [groups, outputs].

    W = `before`, V = `now`, both [groups, inputs, outputs]: what a bias makes good for (Nagel et
    al. 2019, arXiv:1906.04721, section 4.2, and appendix D for means from rows).
    """
    mean_before, mean_now = moments.means()
    was = mean_before[:, np.newaxis] @ before
    shift: FloatArray = (was - mean_now[:, np.newaxis] @ now)[:, 0]
    return shift


def _sum(before: FloatArray | None, more: FloatArray) -> FloatArray:
    return more if before is None else before + more


def _add_to(sums: list[FloatArray], number: int, more: FloatArray) -> None:
    if number == len(sums):
        sums.append(more)
    else:
        sums[number] += more
