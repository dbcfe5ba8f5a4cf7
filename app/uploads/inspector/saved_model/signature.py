"""What goes into a SavedModel and comes out: the signature that others call it by."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from app.errors import RejectedUpload
from app.recipes.saved_model_files import (
    DEFAULT_SIGNATURE,
    INIT_SIGNATURE,
    chosen_signature,
    in_order,
)
from app.recipes.tensor_graph import Graph, Made, maker_and_index
from app.uploads.inspector.saved_model.messages import MAP, SIGNATURE, TENSOR_INFO
from app.uploads.inspector.saved_model.tensors import read_shape, read_type
from app.uploads.inspector.saved_model.wire import Message, Wire, broken
from app.uploads.names import is_showable

MAX_PORTS = 100
MAX_NAME_LENGTH = 200
# In one row of an input: 4 GiB in float32.
MAX_ROW_VALUES = 2**30
HOW_TO_SIGN = "Export it with model.export, or give tf.saved_model.save the argument signatures=."
NOT_TENSORS = frozenset({"resource", "variant"})


class Port(NamedTuple):
    """An input or output: what callers know it by, its tensor, its shape with the batch axis."""

    name: str
    tensor: str
    shape: tuple[int | None, ...] | None
    dtype: str


class Signature(NamedTuple):
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def read_signature(wire: Wire, entries: list[bytes], graph: Graph) -> Signature:
    """The default signature, or the only one.

    Raises: RejectedUpload.
    """
    signatures = wire.map(entries, MAP, "signatures")
    chosen = chosen_signature(signatures)
    if not set(signatures) - {INIT_SIGNATURE}:
        raise RejectedUpload("the SavedModel was saved without signatures", hint=HOW_TO_SIGN)
    if chosen is None:
        raise RejectedUpload(
            f"the SavedModel has {len(signatures)} signatures, none called {DEFAULT_SIGNATURE!r}",
            hint=HOW_TO_SIGN,
        )
    read = {
        name: wire.read(entry.data("value"), SIGNATURE, f"signature {name[:80]!r}")
        for name, entry in signatures.items()
    }
    inputs = _ports(wire, read[chosen], "inputs", graph)
    outputs = _ports(wire, read[chosen], "outputs", graph)
    if not inputs or not outputs:
        raise RejectedUpload("the model has no inputs or no outputs")
    for port in inputs:
        _check_input(port)
    return Signature(inputs, outputs)


def init_nodes(wire: Wire, entries: list[bytes]) -> frozenset[str]:
    """What runs when the model is loaded, as the signatures say it."""
    entry = wire.map(entries, MAP, "signatures").get(INIT_SIGNATURE)
    if entry is None:
        return frozenset()
    outputs = wire.read(entry.data("value"), SIGNATURE, INIT_SIGNATURE).many("outputs")
    infos = wire.map(outputs, MAP, INIT_SIGNATURE).values()
    return frozenset(
        wire.read(one.data("value"), TENSOR_INFO, INIT_SIGNATURE).text("name") for one in infos
    )


def _ports(wire: Wire, signature: Message, which: str, graph: Graph) -> tuple[Port, ...]:
    ports: Mapping[str, Message] = wire.map(signature.many(which), MAP, which)
    if len(ports) > MAX_PORTS:
        raise RejectedUpload(f"the model has {len(ports)} {which}; {MAX_PORTS} are allowed")
    return tuple(_port(wire, name, ports[name].data("value"), graph) for name in in_order(ports))


def _port(wire: Wire, name: str, data: bytes, graph: Graph) -> Port:
    if not name or len(name) > MAX_NAME_LENGTH or not is_showable(name):
        raise RejectedUpload(f"an input or output of the model is called {name[:80]!r}")
    what = f"the signature at {name!r}"
    info = wire.read(data, TENSOR_INFO, what)
    tensor = info.text("name")
    if maker_and_index(tensor)[0] not in graph.nodes:
        raise broken(what, f"it names the tensor {tensor[:80]!r}, which nothing makes")
    dtype = read_type(info.number("dtype"), what)
    if dtype in NOT_TENSORS:
        raise broken(what, f"a {dtype} is nothing to give or take")
    port = Port(name, tensor, read_shape(wire, info.data("shape"), what), dtype)
    _check_made(port, graph.nodes[maker_and_index(tensor)[0]].made, what)
    return port


def _check_made(port: Port, made: Made, what: str) -> None:
    """A signature says the same of a tensor as the operator that makes it.

    Both are the file's own word; what the operator really makes shows when it is run.
    """
    _, index = maker_and_index(port.tensor)
    says: tuple[tuple[object, tuple[object, ...] | None], ...] = (
        (port.dtype, made.dtypes),
        (port.shape, made.shapes),
    )
    for said, outputs in says:
        if outputs is not None and (index >= len(outputs) or outputs[index] != said):
            raise broken(what, f"it says {said}; the graph says otherwise of {port.tensor[:80]!r}")


def _check_input(port: Port) -> None:
    if math.prod(axis or 1 for axis in port.shape or ()) > MAX_ROW_VALUES:
        raise RejectedUpload(
            f"a row of the input {port.name!r} has the shape {list(port.shape or ())[1:]}; "
            f"at most {MAX_ROW_VALUES} values are taken"
        )
    if not port.shape:
        raise RejectedUpload(
            f"the shape of the input {port.name!r} is not known, or has no batch axis",
            hint="Export the model with a fixed number of axes, the batch first.",
        )
    if port.shape[0] not in (None, 1):
        raise RejectedUpload(
            f"the input {port.name!r} takes batches of {port.shape[0]} rows only",
            hint="Export the model with an open batch axis (None), or one of 1.",
        )
