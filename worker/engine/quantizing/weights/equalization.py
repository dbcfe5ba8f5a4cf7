"""Channels of one layer scaled against the next one's, so that both use their ranges alike.

With s > 0 and an f for which f(s x) = s f(x), W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
Weights = dict[str, FloatArray]

MAX_SWEEPS = 40
# Largest factor of a sweep at which there is no more to be won.
SETTLED = 1e-3
# Share of a kernel's reach below which a channel counts as dead. Scaled up, its bias would grow
# without bound and take the range of the activations with it.
DEAD = 1e-6


@dataclass(frozen=True)
class Side:
    """Where the channels lie in a kernel: `axes` of it once it has this shape, slowest first."""

    weight: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def channels(self) -> int:
        return math.prod(self.shape[axis] for axis in self.axes)

    def reach(self, kernel: FloatArray) -> FloatArray:
        """[channels]: the largest magnitude of each."""
        largest: FloatArray = np.abs(self._moved(kernel)).reshape(self.channels, -1).max(axis=1)
        return largest

    def scaled(self, kernel: FloatArray, factors: FloatArray) -> FloatArray:
        """The kernel with each channel multiplied; factors: [channels]."""
        moved = self._moved(kernel)
        count = len(self.axes)
        tail = [1] * (moved.ndim - count)
        changed = moved * factors.reshape(*moved.shape[:count], *tail)
        back = np.moveaxis(changed, range(count), self.axes)
        return back.reshape(kernel.shape)

    def _moved(self, kernel: FloatArray) -> FloatArray:
        return np.moveaxis(kernel.reshape(self.shape), self.axes, range(len(self.axes)))


@dataclass(frozen=True)
class Pair:
    """A layer and the only reader of its channels; `bias` is that of the first, if it has one."""

    first: Side
    second: Side
    bias: str | None


def factors(first: FloatArray, second: FloatArray) -> FloatArray:
    """What balances each channel, [channels]: sqrt(r1 r2) / r2; 1 for dead channels.

    With it r1 / s = r2 s, which makes the most of both ranges (Nagel et al. 2019, arXiv:1906.04721,
    equation 11; equation 13 has sqrt(r1 r2)).
    """
    is_used = (first > DEAD * first.max()) & (second > DEAD * second.max())
    safe_first, safe_second = np.where(is_used, first, 1.0), np.where(is_used, second, 1.0)
    found: FloatArray = np.sqrt(safe_first / safe_second)
    return found


def equalized(weights: Mapping[str, FloatArray], pairs: Sequence[Pair]) -> Weights:
    """Those weights of the pairs, by name, after sweeps over all pairs until nothing moves.

    Pairs overlap: the second layer of one is the first of the next (ibid., section 4.1).
    """
    names = {name for pair in pairs for name in (pair.first.weight, pair.second.weight, pair.bias)}
    changed: Weights = {
        name: weights[name].astype(np.float64) for name in names if name is not None
    }
    for _ in range(MAX_SWEEPS):
        if max((_balance(changed, pair) for pair in pairs), default=0.0) < SETTLED:
            break
    return changed


def range_use(weights: Mapping[str, FloatArray], side: Side) -> float:
    """Mean over channels of their reach as a share of the kernel's: 1 = all use all of it."""
    reach = side.reach(weights[side.weight])
    return float(reach.mean() / reach.max()) if reach.max() > 0 else 1.0


def _balance(weights: Weights, pair: Pair) -> float:
    """Balance one pair in place; how far its factors were from 1."""
    first, second = pair.first, pair.second
    found = factors(first.reach(weights[first.weight]), second.reach(weights[second.weight]))
    weights[first.weight] = first.scaled(weights[first.weight], 1 / found)
    weights[second.weight] = second.scaled(weights[second.weight], found)
    if pair.bias is not None:
        weights[pair.bias] = weights[pair.bias] / found
    return float(np.abs(np.log(found)).max())
