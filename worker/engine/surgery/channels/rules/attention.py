"""Attention: a unit is one head; what the heads are projected to are channels of their own."""

from typing import Any

import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call, Shape, Tensor
from worker.engine.surgery.channels.ids import IntArray
from worker.engine.surgery.channels.ledger import Ledger, replaced
from worker.engine.surgery.channels.rules.kernels import altered
from worker.engine.surgery.weights import sublayers

READ = frozenset({"query", "value", "key"})
_STEPS = "it works along the steps they lie on"


def multi_head(ledger: Ledger, call: Call) -> list[Axes]:
    """Kernels of query, key and value [in, heads, size], of the output [heads, size, out]."""
    layer, dense = call.layer, _projections(call.layer)
    obstacle = _obstacle(dense)
    if obstacle:
        return ledger.refuse(call, obstacle)
    heads = ledger.new(call, layer.num_heads, "heads")
    _project(ledger, call, dict.fromkeys(dense, heads))
    _mask(ledger, call, heads)
    ledger.size(call, ("num_heads",), heads)
    output = dense["attention_output"]
    made = ledger.new(call, output.kernel.shape[2])
    _bind_output(ledger, call, output, made)
    # Left open, it would be as wide as the query, which may shrink on its own.
    ledger.size(call, ("output_shape",), made)
    return _outputs(ledger, call, heads, made)


def grouped_query(ledger: Ledger, call: Call) -> list[Axes]:
    """Several heads of the query share one of key and value: they go with it.

    The output is as wide as the query: its channels are those of the query.
    """
    layer, dense = call.layer, _projections(call.layer)
    obstacle = _obstacle(dense)
    if obstacle:
        return ledger.refuse(call, obstacle)
    shared = ledger.new(call, layer.num_key_value_heads, "heads")
    heads = np.repeat(shared, layer.num_query_heads // layer.num_key_value_heads)
    of_each = {name: shared if name in ("key", "value") else heads for name in dense}
    _project(ledger, call, of_each)
    _mask(ledger, call, heads)
    ledger.size(call, ("num_query_heads",), heads)
    ledger.size(call, ("num_key_value_heads",), shared)
    passing = _read(call)["query"].along(-1)
    _bind_output(ledger, call, dense["attention_output"], passing)
    return _outputs(ledger, call, heads, passing)


def _projections(layer: Any) -> dict[str, Any]:
    """query, key, value, attention_output and, if there is one, gate."""
    return {inner.name: inner for inner in sublayers(layer) if hasattr(inner, "equation")}


def _obstacle(dense: dict[str, Any]) -> str | None:
    obstacle = next(filter(None, map(altered, dense.values())), None)
    if obstacle is None and len(dense["attention_output"].kernel.shape) != 3:
        return "its output has several axes"
    return obstacle


def _project(ledger: Ledger, call: Call, heads: dict[str, IntArray]) -> None:
    dense = _projections(call.layer)
    for name, tensor in _read(call).items():
        ledger.only(call, tensor, {tensor.rank - 1}, _STEPS)
        if name in dense:
            ledger.bind(call, dense[name].kernel, 0, tensor.along(-1), "input")
            ledger.bind(call, dense[name].kernel, 1, heads[name], "output")
            ledger.bind(call, dense[name].bias, 0, heads[name], "output")
    ledger.bind(call, dense["attention_output"].kernel, 0, heads["attention_output"], "input")


def _mask(ledger: Ledger, call: Call, heads: IntArray) -> None:
    """A mask of the scores is [batch, to, from], or [batch, heads, to, from]."""
    given = (*call.arguments[3:], call.keywords.get("attention_mask"))
    shapes: list[Shape] = [getattr(mask, "shape", ()) for mask in given]
    if any(len(shape) > 3 and shape[-3] != 1 for shape in shapes):
        ledger.stop(call, heads, "its attention_mask has a part for each head")


def _bind_output(ledger: Ledger, call: Call, output: Any, made: IntArray) -> None:
    ledger.bind(call, output.kernel, 2, made, "output")
    ledger.bind(call, output.bias, 0, made, "output")


def _read(call: Call) -> dict[str, Tensor]:
    """What is projected; the key is the value if it is not given."""
    names = ("query", "value", "key")
    given = dict(zip(names, call.arguments, strict=False)) | dict(call.keywords)
    tensors = {name: given[name] for name in names if given.get(name) is not None}
    return {"key": tensors["value"], **tensors, "gate": tensors["query"]}


def _outputs(ledger: Ledger, call: Call, heads: IntArray, made: IntArray) -> list[Axes]:
    """The scores, if they are returned, have an axis of heads."""
    axes = replaced({}, len(call.shapes[0]) - 1, made)
    if len(call.shapes) == 1:
        return [axes]
    ledger.stop(call, heads, "its scores, one for each head, are returned")
    return [axes, {}]
