"""Functions of one number each: they let channels pass."""

from typing import Any

import keras

from worker.engine.surgery.channels.calls import Axes, Call
from worker.engine.surgery.channels.ids import IntArray
from worker.engine.surgery.channels.ledger import Ledger

ELEMENT_WISE = frozenset(
    {
        "celu",
        "elu",
        "exponential",
        "gelu",
        "hard_shrink",
        "hard_sigmoid",
        "hard_silu",
        "hard_tanh",
        "leaky_relu",
        "linear",
        "log_sigmoid",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "soft_shrink",
        "softplus",
        "softsign",
        "sparse_plus",
        "sparse_sigmoid",
        "squareplus",
        "tanh",
        "tanh_shrink",
        "threshold",
    }
)
_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


def couples(function: Any) -> str | None:
    """The name of an activation in which one channel depends on others; None if it does not."""
    if function is None or type(function) in _LAYERS:
        return None
    name = getattr(function, "__name__", type(function).__name__)
    known = name in ELEMENT_WISE and getattr(keras.activations, name) is function
    return None if known else name


def activated(ledger: Ledger, call: Call, made: IntArray) -> None:
    """Channels that the layer makes stay if its own activation mixes them."""
    for attribute in ("activation", "recurrent_activation"):
        coupling = couples(getattr(call.layer, attribute, None))
        if coupling is not None:
            ledger.ids.stop(made, f"its {attribute}, {coupling}, mixes its channels")


def activation(ledger: Ledger, call: Call) -> list[Axes]:
    """`Activation`: softmax and its like work along the last axis."""
    coupling = couples(call.layer.activation)
    if coupling is None:
        return [call.given.ids]
    # They pass all the same: should they be those of an output, that is the reason to give.
    ledger.only(call, call.given, set(), f"{coupling} mixes the channels")
    return [call.given.ids]


def softmax(ledger: Ledger, call: Call) -> list[Axes]:
    """Over its axes; a mask says of each number whether it counts."""
    if call.arguments[1:] or call.keywords.get("mask") is not None:
        return ledger.refuse(call, "its mask has a place for each of them")
    axis = call.layer.axis
    summed = (
        {axis % call.given.rank} if isinstance(axis, int) else {a % call.given.rank for a in axis}
    )
    kept = set(range(call.given.rank)) - summed
    return [ledger.only(call, call.given, kept, "softmax mixes the channels")]


def prelu(ledger: Ledger, call: Call) -> list[Axes]:
    """`alpha` has the input's shape without batch, 1 along `shared_axes`."""
    shared = {axis % call.given.rank for axis in call.layer.shared_axes or ()}
    for axis in range(1, call.given.rank):
        if axis not in shared:
            ledger.bind(call, call.layer.alpha, axis - 1, call.given.along(axis), "output")
    return [call.given.ids]
