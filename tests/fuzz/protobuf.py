"""Mutations of protocol buffers, however deep, the lengths around a change right."""

from random import Random

from tests.fuzz import plain
from tests.fuzz.tokens import NUMBERS, WORDS

MAX_DEPTH = 12


def mutated_protobuf(content: bytes, other: bytes, random: Random) -> bytes:
    """One field of a message, mostly deep inside; names and numbers of the same file go around."""
    return _mutated(content, _leaves(content), other, random, 0)


def _mutated(
    content: bytes, leaves: list[int | bytes], other: bytes, random: Random, depth: int
) -> bytes:
    fields = fields_of(content)
    if not fields or depth > MAX_DEPTH:
        return plain.mutated(content, other, random)
    # Long ones more often: what matters is inside of them.
    lengths = [1 if isinstance(value, int) else 1 + len(value) for _, _, value in fields]
    [at] = random.choices(range(len(fields)), [min(length, 64) for length in lengths])
    number, kind, value = fields[at]
    match random.randrange(24):
        case 0:
            del fields[at]
        case 1:
            fields.insert(at, random.choice(fields))
        case 2:
            fields[at] = (random.choice((1, 2, 3, 15, 2**20, number)), kind, value)
        case 3 | 4 | 5 | 6 | 7 if kind in (0, 2) and (kind == 0 or not fields_of(bytes(value))):
            same = [leaf for leaf in leaves if isinstance(leaf, int) == (kind == 0)]
            fields[at] = (number, kind, random.choice(same or [value]))
        case _ if kind == 0:
            fields[at] = (number, kind, random.choice(NUMBERS) % 2**64)
        case 8 | 9 if kind == 2:
            fields[at] = (number, kind, random.choice(WORDS))
        case _ if kind == 2 and isinstance(value, bytes):
            fields[at] = (number, kind, _mutated(value, leaves, other, random, depth + 1))
        case _:
            fields[at] = (number, kind, random.randbytes(len(bytes(value))))
    return b"".join(_encoded(*field) for field in fields)


def _leaves(content: bytes, depth: int = 0) -> list[int | bytes]:
    """Every number and every text of a message and of those inside it."""
    found: list[int | bytes] = []
    for _, kind, value in fields_of(content):
        if kind == 2 and isinstance(value, bytes):
            inside = _leaves(value, depth + 1) if depth < MAX_DEPTH else []
            found += inside or [value]
        elif kind == 0:
            found.append(value)
    return found


def fields_of(content: bytes) -> list[tuple[int, int, int | bytes]]:
    """The fields of a message; none where it is not one."""
    fields: list[tuple[int, int, int | bytes]] = []
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        if number == 0 or kind not in (0, 1, 2, 5) or at > len(content):
            return []
        value: int | bytes
        if kind == 0:
            value, at = _varint(content, at)
        else:
            length = {1: 8, 5: 4}.get(kind, 0)
            if kind == 2:
                length, at = _varint(content, at)
            value = content[at : at + length]
            at += length
        if at > len(content):
            return []
        fields.append((number, kind, value))
    return fields


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    return value, len(content) + 1


def _encoded(number: int, kind: int, value: int | bytes) -> bytes:
    tag = _as_varint(number << 3 | kind)
    if isinstance(value, int):
        return tag + _as_varint(value)
    return tag + (_as_varint(len(value)) if kind == 2 else b"") + value


def _as_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
