"""How many channels a unit of a group stands for."""

import math

import keras
import numpy as np

from worker.engine.surgery.channels.groups import ChannelGraph, ChannelGroup, Slice
from worker.engine.surgery.weights import leaves

# The output axis of their kernels, [..., out, in], is not the last one.
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
# Their kernels hold each unit once for every gate.
RECURRENT = (
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.SimpleRNN,
    keras.layers.Bidirectional,
)

Weights = dict[str, tuple[keras.Layer, tuple[int, ...]]]


def unit_multiples(
    model: keras.Model, graph: ChannelGraph, channel_multiple: int
) -> dict[str, int]:
    """Of how many units a group's width has to be a multiple, so that its channels are of that."""
    weights = {
        name: (leaf.layer, tuple(weight.shape))
        for leaf in leaves(model)
        for name, weight in leaf.weights().items()
    }
    return {
        group.name: channel_multiple // math.gcd(channel_multiple, _channels(group, weights))
        for group in graph.groups
    }


def _channels(group: ChannelGroup, weights: Weights) -> int:
    """Channels of one unit: several for a head, a group of a normalization, a depthwise one."""
    made = [part for part in group.slices if part.role == "output"]
    return max((_channels_in(part, *weights[part.weight]) for part in made), default=1)


def _channels_in(part: Slice, layer: keras.Layer, shape: tuple[int, ...]) -> int:
    if isinstance(layer, RECURRENT):
        return 1
    units = part.units[part.units >= 0]
    entries = int(np.bincount(units).max()) if units.size else 1
    # Heads are [in, heads, size], depthwise kernels [..., in, multiplier].
    return entries if isinstance(layer, TRANSPOSED) else entries * math.prod(shape[part.axis + 1 :])
