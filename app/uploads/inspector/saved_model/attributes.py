"""What attributes of nodes and functions may say: functions, texts, the shapes of outputs."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.recipes.tensor_graph import Made
from app.uploads.inspector.saved_model.messages import (
    ATTRIBUTE,
    CONFIGURATION,
    FUNCTION_NAME,
    GRAPH_OPTIONS,
    LIST,
)
from app.uploads.inspector.saved_model.names import checked_name
from app.uploads.inspector.saved_model.tensors import read_shape, read_type
from app.uploads.inspector.saved_model.wire import Message, Wire, broken, numbers

CUSTOM_GRADIENT = re.compile(r"CustomGradient-[0-9]+|PartitionedCall-[0-9]+")
PLACEHOLDER = "Placeholder"
CONFIGURATIONS = frozenset({"config", "config_proto"})


class Attributes(NamedTuple):
    """What is kept of a node's attributes; all of them were read."""

    calls: tuple[str, ...]
    shape: tuple[int, ...] | None
    dtype: str | None
    texts: tuple[bytes, ...]
    made: Made


def functions_in(wire: Wire, value: Message, what: str) -> Iterator[str]:
    """The functions that an attribute names. Raises: RejectedUpload where it holds tensors."""
    names = [value.data("function")] if "function" in value else []
    if "list" in value:
        listed = wire.read(value.data("list"), LIST, what)
        if "tensor" in listed:
            raise broken(what, "an attribute of it is a list of tensors")
        names += listed.many("function")
    for data in names:
        called = wire.read(data, FUNCTION_NAME, what)
        yield checked_name(called.text("name"), "function")


def check_calls_nothing(wire: Wire, attributes: Mapping[str, Message], what: str) -> None:
    """Raises: RejectedUpload where an attribute names a function, or holds a tensor."""
    for key, entry in attributes.items():
        value = wire.read(entry.data("value"), ATTRIBUTE, what)
        if "tensor" in value or any(True for _ in functions_in(wire, value, what)):
            raise broken(what, f"its attribute {key[:80]!r} names a function or holds a tensor")


def check_text(wire: Wire, key: str, value: Message, what: str) -> None:
    """Texts that decide how TensorFlow runs a node."""
    if key == "executor_type" and value.data("bytes"):
        raise broken(what, "it asks for an executor of its own")
    if key == "_gradient_op_type" and not CUSTOM_GRADIENT.fullmatch(value.text("bytes")):
        raise broken(what, f"its gradient is the unknown {value.text('bytes')[:80]!r}")
    if key in CONFIGURATIONS:
        configuration = wire.read(
            value.data("bytes"), CONFIGURATION, f"the configuration of {what}"
        )
        wire.read(configuration.data("graph"), GRAPH_OPTIONS, f"the configuration of {what}")


def read_made(wire: Wire, operator: str, attributes: Mapping[str, Message], what: str) -> Made:
    """What a node says of its outputs: in attributes of its own, or those that calls have."""
    if operator == PLACEHOLDER:
        dtype, shape = attributes.get("dtype"), attributes.get("shape")
        return Made(
            dtypes=(read_type(dtype.number("type"), what),) if dtype else None,
            shapes=(read_shape(wire, shape.data("shape"), what),) if shape else None,
        )
    types, shapes = (
        _list(wire, attributes.get("Tout"), what),
        _list(wire, attributes.get("_output_shapes"), what),
    )
    return Made(
        dtypes=tuple(read_type(one, what) for one in numbers(types, "type")) if types else None,
        shapes=tuple(read_shape(wire, one, what) for one in shapes.many("shape"))
        if shapes
        else None,
    )


def _list(wire: Wire, value: Message | None, what: str) -> Message | None:
    return wire.read(value.data("list"), LIST, what) if value else None
