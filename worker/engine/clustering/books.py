"""Codebooks in order, and what a weight makes of the one it lies on."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.quantizing.levels import Codebook, IntArray, Weight


@dataclass(frozen=True)
class Usage:
    """How a weight of `size` entries uses its codebook.

    `clusters` are the values in use, the most of any channel; `distinct_values` those of the whole
    weight. `index_bits` tell the clusters apart in numbers of one length, `entropy_bits` in the
    fewest that a code without context takes (of each channel for itself), a weight.
    """

    size: int
    clusters: int
    distinct_values: int
    index_bits: int
    entropy_bits: float


def flat_indices(book: Codebook, numbers: IntArray) -> NDArray[np.int32]:
    """`numbers` of a weight, as indices into `book.centroids` read in a row; same shape."""
    indices = numbers.astype(np.int32)
    if book.channel_axis is None:
        return indices
    channels, k = book.centroids.shape
    shape = [1] * indices.ndim
    shape[book.channel_axis] = channels
    offsets: NDArray[np.int32] = k * np.arange(channels, dtype=np.int32).reshape(shape)
    return indices + offsets


def tidied(book: Codebook) -> Codebook:
    """The same values in ascending order; of one list, each once."""
    if book.channel_axis is None:
        return replace(book, centroids=np.unique(book.centroids))
    return replace(book, centroids=np.sort(book.centroids, axis=1))


def usage_of(book: Codebook, weight: Weight) -> Usage:
    """What `weight` makes of the codebook it lies on.

    Raises: ValueError if it does not.
    """
    numbers = book.numbers(weight)
    if numbers is None:
        raise ValueError("the weight does not lie on its codebook")
    indices = flat_indices(book, numbers).ravel()
    counts = np.bincount(indices, minlength=book.centroids.size).reshape(-1, _length(book))
    clusters = int((counts > 0).sum(axis=1).max())
    return Usage(
        size=weight.size,
        clusters=clusters,
        distinct_values=len(np.unique(book.centroids.ravel()[counts.ravel() > 0])),
        index_bits=max(1, math.ceil(math.log2(clusters))) if clusters > 1 else 0,
        entropy_bits=_entropy_bits(counts),
    )


def _length(book: Codebook) -> int:
    return int(book.centroids.shape[-1])


def _entropy_bits(counts: NDArray[Any]) -> float:
    """counts: [channels, k]. Returns: bits a weight, each channel by its own shares."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.ones(counts.shape), where=counts > 0)
    return float(-(counts * np.log2(shares)).sum() / counts.sum())
