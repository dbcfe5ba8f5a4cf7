"""Units whose outputs nothing reads any more."""

import keras
import numpy as np

from worker.engine.surgery.channels.groups import BoolArray, ChannelGraph, ChannelGroup, Keep
from worker.engine.surgery.weights import named_weights


def without_dead_units(model: keras.Model, graph: ChannelGraph) -> Keep:
    """Groups with units that only zero weights read, False for these; one of a group stays.

    Taking them out changes no output. A unit that no weight leads into still gives a constant: it
    goes once training has moved that into the biases after it, whose price is the lower one.
    Where a layer takes statistics over channels, zeros among them matter, so nothing goes.
    """
    if graph.renormalized:
        return {}
    values = {name: weight.numpy() for name, weight in named_weights(model).items()}
    keep: dict[str, BoolArray] = {}
    for group in graph.groups:
        alive = _read(group, values)
        if alive is None or alive.all():
            continue
        if not alive.any():
            alive[0] = True
        keep[group.name] = alive
    return {name: kept for name, kept in keep.items() if not kept.all()}


def _read(group: ChannelGroup, values: dict[str, np.ndarray]) -> BoolArray | None:
    """[count], True where a weight that is not zero reads the unit; null if none reads any."""
    readers = [part for part in group.slices if part.role == "input"]
    if not readers:
        return None
    read = np.zeros(group.count, np.bool_)
    for part in readers:
        others = tuple(axis for axis in range(values[part.weight].ndim) if axis != part.axis)
        is_used = (values[part.weight] != 0).any(axis=others) & (part.units >= 0)
        read[part.units[is_used]] = True
    return read
