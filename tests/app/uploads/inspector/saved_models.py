"""Writes SavedModels by hand, message by message, as no honest program would."""

import io
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from app.uploads.inspector.saved_model import messages as m
from app.uploads.inspector.saved_model.table import (
    MAGIC,
    MASK_DELTA,
    TRAILER_BYTES,
    UNCOMPRESSED,
    crc32c,
)
from app.uploads.inspector.saved_model.wire import Kind, Schema

FILES = Path(__file__).parent / "files"
FLOAT, INT, STRING = 1, 3, 7


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def encoded(schema: Schema, **values: Any) -> bytes:
    """One message; a list is a repeated field."""
    numbers = {spec.name: (number, spec.kind) for number, spec in schema.items()}
    return b"".join(
        field(*numbers[name], value)
        for name, given in values.items()
        for value in (given if isinstance(given, list) else [given])
    )


def field(number: int, kind: int, value: Any) -> bytes:
    tag = varint(number << 3 | kind)
    if kind == Kind.NUMBER:
        return tag + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return tag + (varint(len(data)) if kind == Kind.BYTES else b"") + data


def mapped(entries: Mapping[str, Any], schema: Schema = m.MAP) -> list[bytes]:
    return [encoded(schema, key=key, value=value) for key, value in entries.items()]


def shape(*axes: int) -> bytes:
    return encoded(m.SHAPE, dimensions=[encoded(m.DIMENSION, size=axis) for axis in axes])


def calling(name: str) -> bytes:
    return encoded(m.ATTRIBUTE, function=encoded(m.FUNCTION_NAME, name=name))


def constant(*axes: int, dtype: int = FLOAT, **values: Any) -> bytes:
    tensor = encoded(m.TENSOR, dtype=dtype, shape=shape(*axes), **values)
    return encoded(m.ATTRIBUTE, tensor=tensor)


def node(name: str, operator: str, *inputs: str, device: str = "", **attributes: bytes) -> bytes:
    return encoded(
        m.NODE,
        name=name,
        operator=operator,
        inputs=list(inputs),
        device=device,
        attributes=mapped(attributes),
    )


def function(
    name: str, *nodes: bytes, result: str = "x", implements: str = "", argument: str = "x"
) -> bytes:
    """A function of one argument and one result."""
    port = [encoded(m.ARGUMENT, name=argument, type=FLOAT)]
    out = [encoded(m.ARGUMENT, name="y", type=FLOAT)]
    attributes = {"api_implements": encoded(m.ATTRIBUTE, bytes=implements)} if implements else {}
    return encoded(
        m.FUNCTION,
        signature=encoded(m.FUNCTION_SIGNATURE, name=name, inputs=port, outputs=out),
        nodes=list(nodes),
        results=mapped({"y": result}),
        attributes=mapped(attributes),
    )


def info(tensor: str, *axes: int) -> bytes:
    return encoded(m.TENSOR_INFO, name=tensor, dtype=FLOAT, shape=shape(*axes))


def signature(inputs: Mapping[str, bytes], outputs: Mapping[str, bytes]) -> bytes:
    return encoded(m.SIGNATURE, inputs=mapped(inputs), outputs=mapped(outputs))


PLACEHOLDER = node("x", "Placeholder")
SOFTMAX = node("y", "Softmax", "x")
SERVING = {"serving_default": signature({"x": info("x:0", -1, 4)}, {"y": info("y:0", -1, 3)})}


def graph(*nodes: bytes, functions: Iterable[bytes] = (), **library: Any) -> bytes:
    return encoded(
        m.GRAPH, nodes=list(nodes), library=encoded(m.LIBRARY, functions=[*functions], **library)
    )


def saved_model(content: bytes = graph(PLACEHOLDER, SOFTMAX), **meta: Any) -> bytes:
    """The file `saved_model.pb`; what is not given is honest."""
    fields: dict[str, Any] = {
        "meta_info": encoded(m.META_INFO, tags=["serve"]),
        "graph": content,
        "signatures": mapped(SERVING),
        **meta,
    }
    return encoded(m.SAVED_MODEL, schema_version=1, meta_graphs=[encoded(m.META_GRAPH, **fields)])


def zipped(members: Mapping[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def members_of(name: str) -> dict[str, bytes]:
    """The files of a SavedModel in `files/`."""
    with zipfile.ZipFile(FILES / f"{name}.zip") as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def table(entries: Mapping[str, bytes]) -> bytes:
    """An index of variables: one block of entries, and one that says where it is."""
    content = block(entries)
    here = varint(0) + varint(len(content) - TRAILER_BYTES)
    index = block({"~": here})
    there = varint(len(content)) + varint(len(index) - TRAILER_BYTES)
    return content + index + (here + there).ljust(40, b"\x00") + struct.pack("<Q", MAGIC)


def block(entries: Mapping[str, bytes]) -> bytes:
    content = b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key.encode() + value
        for key, value in sorted(entries.items())
    )
    content += struct.pack("<II", 0, 1) + bytes([UNCOMPRESSED])
    return content + struct.pack("<I", masked(crc32c(content)))


def masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF
