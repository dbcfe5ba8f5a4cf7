"""Types, shapes and constants, with what is declared held against what is stored."""

import math
from typing import NamedTuple

from app.errors import RejectedUpload
from app.uploads.inspector.saved_model.messages import DIMENSION, SHAPE, TENSOR
from app.uploads.inspector.saved_model.wire import Message, Wire, broken

# tensorflow/core/framework/types.proto; numbers of fewer than 8 bits are one to a byte.
TYPES: dict[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    29: "int4",
    30: "uint4",
}
ITEM_BYTES: dict[str, int] = {
    "bool": 1,
    "int4": 1,
    "uint4": 1,
    "int8": 1,
    "uint8": 1,
    "float8_e5m2": 1,
    "float8_e4m3fn": 1,
    "bfloat16": 2,
    "float16": 2,
    "int16": 2,
    "uint16": 2,
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "float64": 8,
    "int64": 8,
    "uint64": 8,
    "complex64": 8,
    "complex128": 16,
}
# The field that holds the values of each type where they are not plain bytes.
FIELDS: dict[str, str] = {
    "bool": "bool",
    "float8_e5m2": "float8",
    "float8_e4m3fn": "float8",
    "bfloat16": "half",
    "float16": "half",
    "float32": "float32",
    "float64": "float64",
    "int64": "int64",
    "uint32": "uint32",
    "uint64": "uint64",
    "complex64": "complex64",
    "complex128": "complex128",
    "string": "string",
}
WIDTHS = {"float32": 4, "float64": 8, "complex64": 8, "complex128": 16, "float8": 1}
MAX_AXES = 16
MAX_VALUES = 2**31
# Texts that are kept to look at; no file name of a saver is longer.
KEPT_TEXTS = 4
KEPT_TEXT_BYTES = 200


class Constant(NamedTuple):
    """`unstored_bytes`: what a reader makes up, by repeating the last value that is stored."""

    dtype: str
    shape: tuple[int, ...]
    unstored_bytes: int
    texts: tuple[bytes, ...]


def read_type(number: int, what: str) -> str:
    # TensorFlow marks references to variables by adding 100; these come from version 1 alone.
    if number not in TYPES:
        raise broken(what, f"it is of the unknown type number {number}")
    return TYPES[number]


def read_shape(wire: Wire, data: bytes, what: str) -> tuple[int | None, ...] | None:
    """Lengths of all axes, null where one is open; null alone where nothing is known.

    Raises: RejectedUpload.
    """
    shape = wire.read(data, SHAPE, what)
    if shape.number("is_unknown"):
        return None
    axes = [wire.read(one, DIMENSION, what).number("size") for one in shape.many("dimensions")]
    if len(axes) > MAX_AXES or any(axis < -1 or axis >= MAX_VALUES for axis in axes):
        raise broken(what, "its shape is impossible")
    return tuple(None if axis == -1 else axis for axis in axes)


def full_shape(wire: Wire, data: bytes, what: str) -> tuple[int, ...]:
    """A shape without an open axis.

    Raises: RejectedUpload.
    """
    shape = read_shape(wire, data, what)
    full = tuple(axis for axis in shape or () if axis is not None)
    if shape is None or len(full) != len(shape):
        raise broken(what, "its shape is not known")
    if math.prod(full) > MAX_VALUES:
        raise RejectedUpload(
            f"{what} of the SavedModel has the shape {list(full)}, more than {MAX_VALUES} values"
        )
    return full


def read_constant(wire: Wire, data: bytes, what: str) -> Constant:
    """A tensor that is written out in the graph.

    Raises: RejectedUpload where more is stored than its shape declares, or nothing at all.
    """
    tensor = wire.read(data, TENSOR, what)
    dtype = read_type(tensor.number("dtype"), what)
    if dtype in ("resource", "variant"):
        raise broken(what, f"a constant cannot be a {dtype}")
    if "content" in tensor and (dtype not in ITEM_BYTES or FIELDS.get(dtype, "int") in tensor):
        # TensorFlow would take the bytes, and what was looked at here would be the other.
        raise broken(what, "its values are written in two ways, or text as bytes")
    shape = full_shape(wire, tensor.data("shape"), what)
    declared, stored = math.prod(shape), _stored_values(tensor, dtype, what)
    if stored > declared or ("content" in tensor and stored != declared):
        raise RejectedUpload(
            f"{what} of the SavedModel declares {declared} values but stores {stored}",
            hint="Save the model again with tf.saved_model.save or model.export.",
        )
    return Constant(
        dtype=dtype,
        shape=shape,
        unstored_bytes=(declared - stored) * ITEM_BYTES.get(dtype, 24),
        texts=tuple(text[:KEPT_TEXT_BYTES] for text in tensor.many("string")[:KEPT_TEXTS]),
    )


def _stored_values(tensor: Message, dtype: str, what: str) -> int:
    content = tensor.data("content")
    if content and dtype in ITEM_BYTES:
        if len(content) % ITEM_BYTES[dtype]:
            raise broken(what, "its bytes are no whole number of values")
        return len(content) // ITEM_BYTES[dtype]
    field = FIELDS.get(dtype, "int")
    if field == "string":
        return len(tensor.many(field))
    if field in WIDTHS:
        return sum(len(value) for value in tensor.many(field)) // WIDTHS[field]
    return tensor.count_of_numbers(field)
