"""How much each unit of a group of channels matters; maths on arrays.

A *row* holds one number for every unit of a group, [units]: the norm of what one kernel makes it
with, its scale in one BatchNormalization ... NaN stands where a kernel does not make that unit.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]


def unit_sums(values: FloatArray, axis: int, units: IntArray, count: int) -> FloatArray:
    """Sum of all entries that belong to each unit: [count].

    units: [length of `axis`], the unit of each entry along it; -1 = of none.
    """
    others = tuple(place for place in range(values.ndim) if place != axis)
    along = values.sum(axis=others, dtype=np.float64)
    mine = units >= 0
    sums = np.bincount(units[mine], weights=along[mine], minlength=count)
    return sums.astype(np.float64)


def unit_norms(
    kernel: FloatArray, axis: int, units: IntArray, count: int, norm: Literal["l1", "l2"]
) -> FloatArray:
    """Mean magnitude (l1) or root of the mean square (l2) of each unit's weights: [count].

    Means, not the sums of Li et al. 2017 (arXiv:1608.08710, section 3.1): a unit may be made of
    more weights than its neighbors, where a Flatten or a grouped normalization is in between.
    Weights that are zero count as such.
    """
    powers = np.abs(kernel) if norm == "l1" else np.square(kernel, dtype=np.float64)
    sums = unit_sums(powers, axis, units, count)
    sizes = unit_sums(np.ones_like(kernel), axis, units, count)
    means = np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes > 0)
    return means if norm == "l1" else np.sqrt(means)


def relative(
    rows: Mapping[str, FloatArray], families: Mapping[str, Hashable]
) -> dict[str, FloatArray]:
    """One score for each unit by group: [rows, units] -> [units]; the mean over a family is 1.

    Groups of one family have equally many rows, alike in order. The i-th row of each is divided by
    the mean of the i-th rows of the whole family, then a group's rows are averaged: no kernel
    outweighs another for its size or scale, and groups of one family remain comparable as they are
    (Fang et al. 2024, arXiv:2407.04616, section 3.2). A row of zeros stays zero.

    Args:
        rows: group name -> [rows, units], with a number for each unit in at least one row.
        families: group name -> its family.
    """
    members: dict[Hashable, list[str]] = {}
    for name in rows:
        members.setdefault(families[name], []).append(name)
    scores: dict[str, FloatArray] = {}
    for names in members.values():
        together = np.concatenate([rows[name] for name in names], axis=1)
        means = np.nanmean(together, axis=1, keepdims=True)
        scale = np.where(means > 0, means, 1.0)
        scores |= {name: np.nanmean(rows[name] / scale, axis=0) for name in names}
    return scores
