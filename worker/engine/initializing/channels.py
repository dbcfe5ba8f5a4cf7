"""The most important channels of a model, and its weights without the others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.pruning.importance import unit_sums
from worker.engine.surgery.channels.groups import ChannelGraph, ChannelGroup
from worker.engine.surgery.channels.removal import kept_axes

Array = NDArray[Any]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Shapes = Mapping[str, tuple[int, ...]]


def l1_norms(group: ChannelGroup, weights: Mapping[str, Array]) -> FloatArray:
    """[count]: L1 norm of the kernels that make each unit, over all producers of the group.

    Li et al. 2016, arXiv:1608.08710, section 3.1.
    """
    norms = np.zeros(group.count)
    for part in group.slices:
        values = weights[part.weight]
        if part.role == "output" and values.ndim > 1 and _is_made_by(group, part.weight):
            norms += unit_sums(np.abs(values), part.axis, part.units, group.count)
    return norms


def strongest(norms: FloatArray, count: int) -> BoolArray:
    """True for the `count` largest; of equal ones those with the lowest index stay."""
    keep = np.zeros(len(norms), np.bool_)
    keep[np.argsort(-norms, kind="stable")[:count]] = True
    return keep


def wanted_count(group: ChannelGroup, lengths: Shapes) -> int | None:
    """How many units are left if the producers' weights get these shapes; None if they disagree.

    lengths: weight name -> shape it is to have; weights that are not named may have any.
    """
    wanted: set[int | None] = set()
    for part in group.slices:
        is_whole = part.role == "output" and _is_made_by(group, part.weight)
        if part.weight not in lengths or not is_whole or (part.units < 0).any():
            continue
        entries, rest = divmod(lengths[part.weight][part.axis] * group.count, len(part.units))
        wanted.add(None if rest else entries)
    return wanted.pop() if len(wanted) == 1 else None


def narrowed(
    graph: ChannelGraph, weights: Mapping[str, Array], counts: Mapping[str, int]
) -> dict[str, Array]:
    """All weights with the strongest units of each named group alone; `counts`: group -> units."""
    keep = {
        group.name: strongest(l1_norms(group, weights), counts[group.name])
        for group in graph.groups
        if group.name in counts
    }
    kept = kept_axes(graph, keep)
    return {name: _cut(values, kept.get(name, {})) for name, values in weights.items()}


def _cut(values: Array, kept: Mapping[int, BoolArray]) -> Array:
    for axis, keep in kept.items():
        values = np.compress(keep, values, axis=axis)
    return values


def _is_made_by(group: ChannelGroup, weight: str) -> bool:
    return weight.rpartition("/")[0] in group.producers
