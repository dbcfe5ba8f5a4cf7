"""Mutations that know where HDF5, flatbuffers, protocol buffers, Parquet and pictures keep what."""

import io
import struct
import zlib
from random import Random
from typing import Any

import h5py
import numpy as np

from tests.fuzz import plain
from tests.fuzz.textual import mutated_json
from tests.fuzz.tokens import NUMBERS, WORDS

MARKS = (b"OHDR", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"\x89HDF")
MAX_DEPTH = 12
# On damaged files the library itself never ends: only these are opened, the files of the seeds.
WHOLE: set[bytes] = set()
UNWRITABLE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError)


def mutated_hdf5(content: bytes, other: bytes, random: Random) -> bytes:
    """A number near a structure's mark, or what the library itself writes at our wish."""
    if content in WHOLE and random.random() < 0.5:
        return _rewritten(content, other, random)
    places = [at for mark in MARKS for at in _all(content, mark)]
    if not places or random.random() < 0.3:
        return plain.mutated(content, other, random)
    at = random.choice(places) + random.randrange(96)
    width = random.choice((1, 2, 4, 8))
    return content[:at] + plain.number(width, random) + content[at + width :]


def mutated_flatbuffer(content: bytes, other: bytes, random: Random) -> bytes:
    """An aligned word becomes a number, or another word of the same file."""
    if len(content) < 16 or random.random() < 0.2:
        return plain.mutated(content, other, random)
    at = random.randrange(len(content) // 4) * 4
    match random.randrange(4):
        case 0:
            word = plain.number(4, random)
        case 1:
            source = random.randrange(len(content) // 4) * 4
            word = content[source : source + 4]
        case 2:
            word = struct.pack("<i", random.randrange(-8, 64))
        case _:
            moved = struct.unpack_from("<i", content, at)[0] + random.randrange(-64, 65)
            word = struct.pack("<L", moved % 2**32)
    return content[:at] + word + content[at + 4 :]


def mutated_protobuf(content: bytes, other: bytes, random: Random, depth: int = 0) -> bytes:
    """One field of a message, however deep, the lengths around it right."""
    fields = _fields(content)
    if not fields or depth > MAX_DEPTH:
        return plain.mutated(content, other, random)
    at = random.randrange(len(fields))
    number, kind, value = fields[at]
    match random.randrange(10):
        case 0:
            del fields[at]
        case 1:
            fields.insert(at, fields[random.randrange(len(fields))])
        case 2:
            fields[at] = (random.choice((1, 2, 3, 15, 2**20, number)), kind, value)
        case _ if kind == 0:
            fields[at] = (number, kind, random.choice(NUMBERS) % 2**64)
        case 3 | 4 if kind == 2:
            fields[at] = (number, kind, random.choice(WORDS))
        case _ if kind == 2 and isinstance(value, bytes):
            fields[at] = (number, kind, mutated_protobuf(value, other, random, depth + 1))
        case _:
            fields[at] = (number, kind, random.randbytes(len(bytes(value))))
    return b"".join(_encoded(*field) for field in fields)


def mutated_parquet(content: bytes, other: bytes, random: Random) -> bytes:
    """The description at the end, its length right; or the pages before it."""
    if len(content) < 12 or not content.endswith(b"PAR1") or random.random() < 0.2:
        return plain.mutated(content, other, random)
    length = struct.unpack_from("<L", content, len(content) - 8)[0]
    start = max(4, len(content) - 8 - length)
    pages, described = content[4:start], content[start:-8]
    if random.random() < 0.3:
        pages = plain.mutated(pages, other, random)
    else:
        described = plain.mutated(described, other[-8 - length :], random)
    return b"PAR1" + pages + described + struct.pack("<L", len(described)) + b"PAR1"


def mutated_picture(content: bytes, other: bytes, random: Random) -> bytes:
    """One chunk of a PNG, its checksum right; of other pictures, any bytes."""
    if not content.startswith(b"\x89PNG") or random.random() < 0.2:
        return plain.mutated(content, other, random)
    chunks = _chunks(content)
    if not chunks:
        return plain.mutated(content, other, random)
    at = random.randrange(len(chunks))
    kind, data = chunks[at]
    match random.randrange(5):
        case 0 if kind == b"IHDR":
            data = struct.pack(">LL", *(random.choice(NUMBERS) % 2**32 for _ in "wh")) + data[8:]
        case 1:
            chunks.insert(at, chunks[at])
        case 2 if kind == b"IDAT":
            data = zlib.compress(bytes(random.choice((0, 100, 10**6))))
        case 3:
            chunks.insert(at, (random.choice((b"iCCP", b"tEXt", b"zTXt", b"tRNS", b"acTL")), data))
        case _:
            data = plain.mutated(data, other, random)
    chunks[at] = (kind, data)
    return content[:8] + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _all(content: bytes, mark: bytes) -> list[int]:
    found: list[int] = []
    at = content.find(mark)
    while at >= 0 and len(found) < 200:
        found.append(at)
        at = content.find(mark, at + 1)
    return found


def _rewritten(content: bytes, other: bytes, random: Random) -> bytes:
    """A file with one attribute, link or array that Keras would not write."""
    file = io.BytesIO(content)
    try:
        with h5py.File(file, "r+") as hdf5:
            _disturb(hdf5, other, random)
    except UNWRITABLE:
        return plain.mutated(content, other, random)
    return file.getvalue()


def _disturb(hdf5: Any, other: bytes, random: Random) -> None:
    arrays: list[str] = []
    hdf5.visit(arrays.append)
    path = random.choice(arrays or ["new"])
    match random.randrange(8):
        case 0 | 1 | 2 if "model_config" in hdf5.attrs:
            text = hdf5.attrs["model_config"]
            text = text.encode() if isinstance(text, str) else bytes(text)
            hdf5.attrs["model_config"] = mutated_json(text, other, random)
        case 3:
            hdf5[f"{path}_link"] = h5py.ExternalLink("/etc/hostname", "/")
        case 4:
            hdf5[f"{path}_soft"] = h5py.SoftLink(f"/{path}")
        case 5:
            shape = random.choice(((), (0,), (3, 0), (2**40,), (1,) * 32, (5, 5)))
            kinds = ("<f4", ">f8", "i1", "u8", "S4", "c8", "<f2", "?", "O")
            dtype: Any = random.choice(kinds)
            dtype = h5py.special_dtype(vlen=str) if dtype == "O" else dtype
            hdf5.create_dataset(f"{path}_made", shape, dtype, chunks=None)
        case 6:
            data = np.zeros((300, 300), "f4")
            filters = random.choice(({"compression": "gzip"}, {"compression": "lzf"}, {}))
            hdf5.create_dataset(f"{path}_packed", data=data, chunks=(50, 50), **filters)
        case _:
            del hdf5[path]


def _fields(content: bytes) -> list[tuple[int, int, int | bytes]]:
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


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">L4s", content, at)
        chunks.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks
