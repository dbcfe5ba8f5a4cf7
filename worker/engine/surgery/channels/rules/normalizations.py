"""Normalizations, exact ones and those whose statistics run over channels."""

import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call
from worker.engine.surgery.channels.ledger import Ledger


def batch_normalization(ledger: Ledger, call: Call) -> list[Axes]:
    """Every channel has statistics of its own: gamma, beta, mean, variance, all [channels]."""
    layer = call.layer
    ids = call.given.along(layer.axis)
    for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
        ledger.bind(call, weight, 0, ids, "output")
    return [call.given.ids]


def layer_normalization(ledger: Ledger, call: Call) -> list[Axes]:
    """`gamma` and `beta` have the shape of the normalized axes, in ascending order."""
    axes = sorted(axis % call.given.rank for axis in call.layer.axis)
    for weight in _affine(call):
        for place, axis in enumerate(axes):
            ledger.bind(call, weight, place, call.given.along(axis), "output")
    return [_over(ledger, call, axes)]


def unit_normalization(ledger: Ledger, call: Call) -> list[Axes]:
    given = call.layer.axis
    axes = (given,) if isinstance(given, int) else given
    return [_over(ledger, call, [axis % call.given.rank for axis in axes])]


def group_normalization(ledger: Ledger, call: Call) -> list[Axes]:
    """Groups of neighboring channels, each with statistics of its own: whole groups go.

    One group alone is a layer normalization over everything but the batch.
    """
    layer, axis = call.layer, call.layer.axis % call.given.rank
    passing = ledger.only(call, call.given, {axis}, "its statistics run over them")
    ids = call.given.along(axis)
    for weight in (layer.gamma, layer.beta):
        ledger.bind(call, weight, 0, ids, "output")
    if layer.groups == 1:
        return [_over(ledger, call, [axis])]
    members = ids.reshape(layer.groups, -1)
    first = members[:, 0]
    for others in members.T[1:]:
        first = ledger.ids.unite(
            first, others, f"{call.name!r} has groups, parts of which are fixed"
        )
    ledger.size(call, ("groups",), first)
    return [passing]


def layer_scale(ledger: Ledger, call: Call) -> list[Axes]:
    """`gamma`, [channels], is multiplied with the last axis (Touvron et al. 2021)."""
    ledger.bind(call, call.layer.gamma, 0, call.given.along(-1), "output")
    ledger.size(call, ("projection_dim",), call.given.along(-1))
    return [call.given.ids]


def normalization(ledger: Ledger, call: Call) -> list[Axes]:
    """Its statistics were adapted to data; they stand at inputs, whose channels stay anyway."""
    if not call.given.ids:
        return [{}]
    return ledger.refuse(call, "it holds statistics of data, one for each channel")


def rescaling(ledger: Ledger, call: Call) -> list[Axes]:
    if np.ndim(call.layer.scale) == np.ndim(call.layer.offset) == 0 or not call.given.ids:
        return [call.given.ids]
    return ledger.refuse(call, "it scales each channel by a number of its configuration")


def _affine(call: Call) -> tuple[object, ...]:
    names = ("gamma", "beta", "scale")
    return tuple(
        weight for name in names if hasattr(weight := getattr(call.layer, name, None), "assign")
    )


def _over(ledger: Ledger, call: Call, axes: list[int]) -> Axes:
    for axis in axes:
        ledger.renormalize(call, call.given.along(axis))
    return call.given.ids
