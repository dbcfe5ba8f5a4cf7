"""Mutations of structures in Thrift's compact protocol: read, changed in one place, written again.

Lengths and counts around a change are right, so that readers get as far as its meaning.
"""

import copy
from random import Random
from typing import Any

from app.datafiles.thrift import LONG_LIST, Kind
from tests.fuzz import plain
from tests.fuzz.tokens import NUMBERS, WORDS

INTEGERS = (Kind.I16, Kind.I32, Kind.I64)
FLAGS = (Kind.TRUE, Kind.FALSE)
LISTS = (Kind.LIST, Kind.SET)
BROKEN = (IndexError, ValueError, RecursionError, OverflowError)
MASK = 2**64 - 1

# A structure is a list of fields, a field [number, kind, value]; a list is [kind, values].
Struct = list[list[Any]]


def mutated_thrift(content: bytes, random: Random) -> bytes:
    """One structure with one value, field or list changed; any bytes where it is none."""
    try:
        struct, end = read_struct(content, 0)
    except BROKEN:
        return plain.mutated(content, content, random)
    change(struct, random)
    return written(struct) + content[end:]


def change(struct: Struct, random: Random) -> None:
    """Down to some value, mostly; at each level a field may go, double or be called otherwise."""
    if not struct:
        return
    at = random.randrange(len(struct))
    match random.randrange(24):
        case 0 | 1 as way:
            _drop_or_double(struct, at, random, drops=way == 0)
        case 2:
            struct[at][0] = random.randrange(1, 16)
        case 3:
            # Another kind, its value as it was or as that kind has it.
            struct[at][1:] = random.choice(([Kind.I64, 1], [Kind.BINARY, b"x"], [Kind.STRUCT, []]))
        case _:
            struct[at][1:] = changed(struct[at][1], struct[at][2], random)


def changed(kind: int, value: Any, random: Random) -> list[Any]:
    """The kind and another value of it."""
    if kind == Kind.STRUCT:
        change(value, random)
    elif kind in LISTS:
        _change_list(value, random)
    elif kind in INTEGERS:
        value = random.choice((random.choice(NUMBERS), value + random.randrange(-9, 10), -value))
    elif kind in FLAGS:
        return [random.choice(FLAGS), None]
    elif kind == Kind.BINARY:
        value = random.choice((random.choice(WORDS), plain.mutated(value, value, random)))
    else:
        value = plain.mutated(value, value, random)[: len(value)].ljust(len(value), b"\0")
    return [kind, value]


def _change_list(held: list[Any], random: Random) -> None:
    kind, values = held
    if not values:
        return
    at = random.randrange(len(values))
    match random.randrange(8):
        case 0 | 1 as way:
            _drop_or_double(values, at, random, drops=way == 0)
        case 2:
            values.extend(copy.deepcopy(values[at]) for _ in range(random.choice((1, 20, 300))))
        case _ if kind not in FLAGS:
            values[at] = changed(kind, values[at], random)[1]


def _drop_or_double(held: list[Any], at: int, random: Random, *, drops: bool) -> None:
    """Take one away, or put a copy of any before it."""
    if drops:
        del held[at]
    else:
        held.insert(at, copy.deepcopy(random.choice(held)))


def read_struct(content: bytes, at: int) -> tuple[Struct, int]:
    """A structure and where it ends. Raises: one of BROKEN."""
    struct: Struct = []
    number = 0
    while head := content[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            zigzag, at = read_varint(content, at)
            number = zigzag >> 1
        value, at = _read(content, at, head & 15, in_list=False)
        struct.append([number, head & 15, value])
    return struct, at + 1


def _read(content: bytes, at: int, kind: int, *, in_list: bool) -> tuple[Any, int]:
    if kind in FLAGS:
        return (content[at], at + 1) if in_list else (None, at)
    if kind in INTEGERS:
        number, at = read_varint(content, at)
        return (number >> 1) ^ -(number & 1), at
    if kind == Kind.STRUCT:
        return read_struct(content, at)
    if kind in LISTS:
        return _read_list(content, at)
    length = {Kind.BYTE: 1, Kind.DOUBLE: 8}.get(Kind(kind))
    if length is None:
        length, at = read_varint(content, at)
    if at + length > len(content):
        raise ValueError("cut off")
    return content[at : at + length], at + length


def _read_list(content: bytes, at: int) -> tuple[list[Any], int]:
    count, kind = content[at] >> 4, content[at] & 15
    at += 1
    if count == LONG_LIST:
        count, at = read_varint(content, at)
    values = []
    for _ in range(min(count, len(content))):
        value, at = _read(content, at, kind, in_list=True)
        values.append(value)
    return [kind, values], at


def read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 128:
            return value, at


def written(struct: Struct) -> bytes:
    """Every field by its full number: short forms say only what is beyond the one before."""
    return b"".join(
        bytes([kind]) + _varint(number << 1) + _written(kind, value, in_list=False)
        for number, kind, value in struct
    ) + bytes([Kind.STOP])


def _written(kind: int, value: Any, *, in_list: bool) -> bytes:
    if kind in FLAGS:
        return bytes([value]) if in_list else b""
    if kind in INTEGERS:
        return _varint(((value << 1) ^ (value >> 63)) & MASK)
    if kind == Kind.STRUCT:
        return written(value)
    if kind in LISTS:
        kind, values = value
        head = bytes([LONG_LIST << 4 | kind]) + _varint(len(values))
        return head + b"".join(_written(kind, each, in_list=True) for each in values)
    return (_varint(len(value)) if kind == Kind.BINARY else b"") + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
