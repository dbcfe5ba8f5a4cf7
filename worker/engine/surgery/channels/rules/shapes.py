"""Layers that move numbers about, or work along other axes than that of the channels."""

from collections.abc import Sequence

import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call, Shape, Tensor
from worker.engine.surgery.channels.ids import IntArray
from worker.engine.surgery.channels.ledger import Ledger

_SPLIT = "it lays them along several axes"


def same(ledger: Ledger, call: Call) -> list[Axes]:
    """Every number depends on the one at its place alone."""
    return [call.given.ids]


def dropout(ledger: Ledger, call: Call) -> list[Axes]:
    noise_shape = getattr(call.layer, "noise_shape", None)
    if noise_shape is None or not call.given.ids:
        return [call.given.ids]
    open_axes = {axis for axis, length in enumerate(noise_shape) if length in (None, 1)}
    return [ledger.only(call, call.given, open_axes, "its noise_shape states their number")]


def spatial(ledger: Ledger, call: Call) -> list[Axes]:
    """Windows, borders, repetition: along all axes but the last one."""
    return [ledger.only_last(call, call.given)]


def global_pooling(ledger: Ledger, call: Call) -> list[Axes]:
    """[batch, ..., channels] -> [batch, channels], or with axes of 1 between."""
    axes = ledger.only_last(call, call.given)
    return [{len(call.shapes[0]) - 1: ids for ids in axes.values()}]


def masking(ledger: Ledger, call: Call) -> list[Axes]:
    """A step is masked if all its features are `mask_value`: without some, more steps would be."""
    kept = set(range(call.given.rank - 1))
    return [ledger.only(call, call.given, kept, "it masks by all of them")]


def repeat_vector(ledger: Ledger, call: Call) -> list[Axes]:
    return [{axis + 1: ids for axis, ids in call.given.ids.items()}]


def permute(ledger: Ledger, call: Call) -> list[Axes]:
    return [permuted(call.given, (0, *call.layer.dims))]


def permuted(tensor: Tensor, order: Sequence[int]) -> Axes:
    return {place: tensor.ids[axis] for place, axis in enumerate(order) if axis in tensor.ids}


def flatten(ledger: Ledger, call: Call) -> list[Axes]:
    length = call.shapes[0][1]
    return [_laid_out(ledger, call, (call.given.shape[0], length))]


def reshape(ledger: Ledger, call: Call) -> list[Axes]:
    axes = _laid_out(ledger, call, call.shapes[0])
    made = Tensor(call.shapes[0], axes)
    for place, length in enumerate(call.layer.target_shape):
        # -1 stands for what is left, also when less is left.
        if length != -1:
            ledger.size(call, ("target_shape", place), made.along(place + 1))
    return [axes]


def _laid_out(ledger: Ledger, call: Call, shape: Shape) -> Axes:
    """The ids in another shape of as many numbers, in the same order."""
    given = call.given
    if not given.ids:
        return {}
    last = given.rank - 1
    if set(given.ids) == {last} and given.shape[last] == shape[-1]:
        return {len(shape) - 1: given.ids[last]}
    if len(given.ids) > 1:
        return ledger.refuse(call, "it mixes two axes of channels")[0]
    if None in (*given.shape[1:], *shape[1:]):
        return ledger.refuse(call, "it reshapes axes of unknown length")[0]
    axis, ids = next(iter(given.ids.items()))
    lengths = [1] * (given.rank - 1)
    lengths[axis - 1] = len(ids)
    everywhere = np.broadcast_to(ids.reshape(lengths), given.shape[1:])  # type: ignore[arg-type]
    laid_out = everywhere.reshape(shape[1:])  # type: ignore[arg-type]
    found = _axis_of(laid_out)
    return ledger.refuse(call, _SPLIT)[0] if found is None else {found[0] + 1: found[1]}


def _axis_of(laid_out: IntArray) -> tuple[int, IntArray] | None:
    """The one axis along which ids vary, and the ids along it; None if there are several."""
    for axis in reversed(range(laid_out.ndim)):
        along = np.moveaxis(laid_out, axis, -1)
        ids = along.reshape(-1, laid_out.shape[axis])[0]
        if laid_out.shape[axis] > 1 and (along == ids).all():
            return axis, ids
    return None
