"""Functions of keras.ops that stand in a graph without a layer, by the name of their class."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call, Tensor
from worker.engine.surgery.channels.ledger import Ledger
from worker.engine.surgery.channels.rules.merges import concatenated, merged
from worker.engine.surgery.channels.rules.shapes import permuted, same

Rule = Callable[[Ledger, Call], list[Axes]]


def element_wise(ledger: Ledger, call: Call) -> list[Axes]:
    """Of two operands, one of which may be a number or an array; axes match from the last one."""
    operands = (*call.arguments, *call.keywords.values())
    rank = max(tensor.rank for tensor in call.inputs)
    if any(tensor.rank != rank for tensor in call.inputs):
        return ledger.refuse(call, "its operands differ in rank")
    axes = merged(ledger, call, call.inputs)
    for operand in operands:
        if not isinstance(operand, Tensor):
            axes = _with_constant(ledger, call, Tensor(call.shapes[0], axes), operand)
    return [axes]


def reduction(ledger: Ledger, call: Call) -> list[Axes]:
    """Mean, sum, maximum, minimum over axes that are not those of channels."""
    given, axis = call.given, call.layer.axis
    gone = range(given.rank) if axis is None else np.atleast_1d(axis) % given.rank
    if 0 in gone:
        return ledger.refuse(call, "it reduces over the batch")
    left = [place for place in range(given.rank) if place not in gone]
    axes = ledger.only(call, given, set(left), "it reduces over them")
    if call.layer.keepdims:
        return [axes]
    return [{left.index(place): ids for place, ids in axes.items()}]


def clip(ledger: Ledger, call: Call) -> list[Axes]:
    """Between two numbers; arrays could hold one for each channel."""
    if np.ndim(call.layer.x_min) == np.ndim(call.layer.x_max) == 0:
        return same(ledger, call)
    return ledger.refuse(call, "it clips to arrays")


def transpose(ledger: Ledger, call: Call) -> list[Axes]:
    order = [axis % call.given.rank for axis in call.layer.axes or ()]
    if not order or order[0] != 0:
        return ledger.refuse(call, "it moves the batch")
    return [permuted(call.given, order)]


def expand_dims(ledger: Ledger, call: Call) -> list[Axes]:
    axis = call.layer.axis
    if not isinstance(axis, int) or axis % (call.given.rank + 1) == 0:
        return ledger.refuse(call, "it moves the batch")
    place = axis % (call.given.rank + 1)
    return [{at + (at >= place): ids for at, ids in call.given.ids.items()}]


def concatenate(ledger: Ledger, call: Call) -> list[Axes]:
    if call.layer.axis is None:
        return ledger.refuse(call, "it flattens the batch")
    return [concatenated(ledger, call, call.layer.axis)]


def _with_constant(ledger: Ledger, call: Call, tensor: Tensor, constant: Any) -> Axes:
    """Along axes where the constant has a number for each channel, they have to stay."""
    lengths = np.shape(keras.ops.convert_to_numpy(constant))
    first = tensor.rank - len(lengths)
    free = {at for at in range(tensor.rank) if at < first or lengths[at - first] == 1}
    return ledger.only(call, tensor, free, "it has a constant for each of them")


_SAME = (
    "Abs Absolute Cast Celu Copy Cos Elu Erf Exp Expm1 Floor Gelu HardShrink HardSigmoid "
    "HardSilu HardTanh LeakyRelu Log Log1p LogSigmoid Negative Reciprocal Relu Relu6 Round Rsqrt "
    "Selu Sigmoid Sign Silu Sin SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square "
    "Squareplus StopGradient Tanh TanhShrink Threshold"
)
_ELEMENT_WISE = (
    "Add Divide DivideNoNan Equal FloorDivide Greater GreaterEqual Less LessEqual LogicalAnd "
    "LogicalOr Maximum Minimum Mod Multiply NotEqual Power Subtract TrueDivide"
)
_REDUCTION = "All Any Amax Amin Max Mean Min Std Sum Var"

OPERATIONS: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME.split(), same),
    **dict.fromkeys(_ELEMENT_WISE.split(), element_wise),
    **dict.fromkeys(_REDUCTION.split(), reduction),
    "Clip": clip,
    "Concatenate": concatenate,
    "ExpandDims": expand_dims,
    "Transpose": transpose,
}
