"""Layers that sum over input channels and make output channels."""

from typing import Any

import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call, without
from worker.engine.surgery.channels.ids import IntArray
from worker.engine.surgery.channels.ledger import Ledger, replaced
from worker.engine.surgery.channels.rules.activations import activated


def altered(layer: Any) -> str | None:
    """Why the weights of a layer are not what its class says; None if they are."""
    if getattr(layer, "quantization_mode", None) is not None:
        return "its weights are quantized"
    if getattr(layer, "lora_enabled", False):
        return "it has LoRA weights"
    return None


def dense(ledger: Ledger, call: Call) -> list[Axes]:
    """Kernel [in, out]; axes before the last one pass."""
    obstacle = altered(call.layer)
    if obstacle:
        return ledger.refuse(call, obstacle)
    return [_summed(ledger, call, ("units",), call.given.ids)]


def convolution(ledger: Ledger, call: Call) -> list[Axes]:
    """Kernel [..., in / groups, out]."""
    ledger.only_last(call, call.given)
    if call.layer.groups > 1:
        return [_grouped(ledger, call)]
    return [_summed(ledger, call, ("filters",), {})]


def transposed(ledger: Ledger, call: Call) -> list[Axes]:
    """Kernel [..., out, in]."""
    ledger.only_last(call, call.given)
    kernel = call.layer.kernel
    ledger.bind(call, kernel, -1, call.given.along(-1), "input")
    made = ledger.new(call, kernel.shape[-2])
    ledger.bind(call, kernel, -2, made, "output")
    return [_made(ledger, call, ("filters",), made, {})]


def depthwise(ledger: Ledger, call: Call) -> list[Axes]:
    """Kernel [..., in, multiplier]: output channel in * multiplier + m belongs to its input."""
    ledger.only_last(call, call.given)
    entering = call.given.along(-1)
    ledger.bind(call, call.layer.kernel, -2, entering, "output")
    passing = np.repeat(entering, call.layer.depth_multiplier)
    ledger.bind(call, call.layer.bias, 0, passing, "output")
    activated(ledger, call, passing)
    return [replaced({}, call.given.rank - 1, passing)]


def separable(ledger: Ledger, call: Call) -> list[Axes]:
    """Depthwise kernel [..., in, multiplier], pointwise kernel [..., in * multiplier, out]."""
    ledger.only_last(call, call.given)
    layer, entering = call.layer, call.given.along(-1)
    ledger.bind(call, layer.depthwise_kernel, -2, entering, "input")
    between = np.repeat(entering, layer.depth_multiplier)
    ledger.bind(call, layer.pointwise_kernel, -2, between, "input")
    made = ledger.new(call, layer.pointwise_kernel.shape[-1])
    ledger.bind(call, layer.pointwise_kernel, -1, made, "output")
    return [_made(ledger, call, ("filters",), made, {})]


def embedding(ledger: Ledger, call: Call) -> list[Axes]:
    """Embeddings [words, out]."""
    obstacle = altered(call.layer)
    if obstacle or call.given.ids:
        return ledger.refuse(call, obstacle or "it looks its input up")
    made = ledger.new(call, call.layer.output_dim)
    ledger.bind(call, call.layer.embeddings, 1, made, "output")
    ledger.size(call, ("output_dim",), made)
    return [{len(call.shapes[0]) - 1: made}]


def _summed(ledger: Ledger, call: Call, keys: tuple[str], passing: Axes) -> Axes:
    """Channels made by a kernel [..., in, out]."""
    kernel = call.layer.kernel
    ledger.bind(call, kernel, -2, call.given.along(-1), "input")
    made = ledger.new(call, kernel.shape[-1])
    ledger.bind(call, kernel, -1, made, "output")
    return _made(ledger, call, keys, made, passing)


def _made(ledger: Ledger, call: Call, keys: tuple[str], made: IntArray, passing: Axes) -> Axes:
    ledger.bind(call, call.layer.bias, 0, made, "output")
    ledger.size(call, keys, made)
    activated(ledger, call, made)
    return {**without(passing, call.given.rank - 1), call.given.rank - 1: made}


def _grouped(ledger: Ledger, call: Call) -> Axes:
    """A convolution in groups: all of them keep equally many inputs and outputs.

    With one input a group it is depthwise, and whole groups go. Otherwise the groups share an axis
    of the kernel: the i-th inputs of all groups go together, and so do their i-th outputs.
    """
    layer, entering = call.layer, call.given.along(-1)
    filters, inputs = layer.kernel.shape[-1], layer.kernel.shape[-2]
    if inputs == 1:
        passing = np.repeat(entering, filters // layer.groups)
        ledger.bind(call, layer.kernel, -1, passing, "output")
        ledger.size(call, ("groups",), entering)
        return replaced({}, call.given.rank - 1, _bias_of(ledger, call, passing))
    ledger.bind(call, layer.kernel, -2, _alike(ledger, call, entering), "input")
    made = ledger.new(call, filters)
    _alike(ledger, call, made)
    ledger.bind(call, layer.kernel, -1, made, "output")
    return {call.given.rank - 1: _bias_of(ledger, call, made)}


def _bias_of(ledger: Ledger, call: Call, made: IntArray) -> IntArray:
    ledger.bind(call, call.layer.bias, 0, made, "output")
    ledger.size(call, ("filters",), made)
    activated(ledger, call, made)
    return made


def _alike(ledger: Ledger, call: Call, channels: IntArray) -> IntArray:
    """[channels of one group], each one with those at its place in the other groups."""
    by_group = channels.reshape(call.layer.groups, -1)
    first = by_group[0]
    for others in by_group[1:]:
        first = ledger.ids.unite(first, others, f"{call.name!r} has groups, one of which is fixed")
    return first
