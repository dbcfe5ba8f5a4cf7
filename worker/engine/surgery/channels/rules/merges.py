"""Layers and operations that bring several tensors together."""

from collections.abc import Sequence

import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call, Tensor
from worker.engine.surgery.channels.ids import IntArray
from worker.engine.surgery.channels.ledger import Ledger, replaced


def merge(ledger: Ledger, call: Call) -> list[Axes]:
    """Element by element; Keras gives inputs of lower rank new axes right after the batch."""
    rank = max(tensor.rank for tensor in call.inputs)
    return [merged(ledger, call, [_raised(tensor, rank) for tensor in call.inputs])]


def merged(ledger: Ledger, call: Call, tensors: Sequence[Tensor]) -> Axes:
    """Tensors of one rank, element by element: channels at the same place become one.

    What has length 1 along an axis is repeated there.
    """
    axes: Axes = {}
    for axis in sorted({axis for tensor in tensors for axis in tensor.ids}):
        axes = replaced(axes, axis, _along(ledger, call, tensors, axis))
    return axes


def concatenate(ledger: Ledger, call: Call) -> list[Axes]:
    return [concatenated(ledger, call, call.layer.axis)]


def concatenated(ledger: Ledger, call: Call, axis: int) -> Axes:
    """Along `axis` ids are joined; along the others they become one."""
    joint = axis % call.given.rank
    lengths = [tensor.shape[joint] for tensor in call.inputs]
    if joint == 0 or (None in lengths and any(joint in tensor.ids for tensor in call.inputs)):
        return ledger.refuse(call, "it joins tensors along an axis of unknown length")[0]
    others = [
        Tensor(tensor.shape, {at: ids for at, ids in tensor.ids.items() if at != joint})
        for tensor in call.inputs
    ]
    axes = merged(ledger, call, others)
    if None in lengths:
        return axes
    return replaced(axes, joint, np.concatenate([tensor.along(joint) for tensor in call.inputs]))


def _along(ledger: Ledger, call: Call, tensors: Sequence[Tensor], axis: int) -> IntArray:
    """[length of the axis]: the ids of all tensors, made one."""
    length = max(len(tensor.along(axis)) for tensor in tensors)
    reason = f"{call.name!r} merges it with channels that have to stay"
    united = None
    for tensor in tensors:
        ids = tensor.along(axis)
        if tensor.shape[axis] == length:
            united = ids if united is None else ledger.ids.unite(united, ids, reason)
        else:
            ledger.stop(call, ids, "it repeats its one channel")
    assert united is not None
    if any(tensor.shape[axis] is None for tensor in tensors):
        ledger.stop(call, united, "it merges them with an axis of unknown length")
    return united


def _raised(tensor: Tensor, rank: int) -> Tensor:
    new = rank - tensor.rank
    shape = (tensor.shape[0], *(1,) * new, *tensor.shape[1:])
    return Tensor(shape, {axis + new: ids for axis, ids in tensor.ids.items()})
