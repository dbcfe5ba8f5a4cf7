"""Mutations that know where HDF5, flatbuffers and pictures keep what."""

import io
import struct
import zlib
from random import Random
from typing import Any

import h5py
import numpy as np

from tests.fuzz import plain
from tests.fuzz.textual import mutated_json
from tests.fuzz.tokens import NUMBERS

MARKS = (b"OHDR", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"\x89HDF")
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
    match random.randrange(6):
        case 0:
            word = plain.number(4, random)
        case 1:
            # Half of it: tables say by two bytes each where their fields are.
            half = struct.pack("<H", random.choice((0, 4, 6, 8, *range(10, 80, 2), 65_535)))
            word = content[at : at + 2] + half
        case 2:
            word = plain.number(2, random) + content[at + 2 : at + 4]
        case 3:
            source = random.randrange(len(content) // 4) * 4
            word = content[source : source + 4]
        case 4:
            word = struct.pack("<i", random.randrange(-8, 64))
        case _:
            moved = struct.unpack_from("<i", content, at)[0] + random.randrange(-64, 65)
            word = struct.pack("<L", moved % 2**32)
    return content[:at] + word + content[at + 4 :]


def mutated_picture(content: bytes, other: bytes, random: Random) -> bytes:
    """One chunk of a PNG, its checksum right; of other pictures, any bytes."""
    if not content.startswith(b"\x89PNG") or random.random() < 0.2:
        return plain.mutated(content, other, random)
    chunks = _chunks(content)
    if not chunks:
        return plain.mutated(content, other, random)
    at = random.randrange(len(chunks))
    kind, data = chunks[at]
    match random.randrange(7):
        case 0 if kind == b"IHDR":
            data = struct.pack(">LL", *(random.choice(NUMBERS) % 2**32 for _ in "wh")) + data[8:]
        case 1:
            chunks.insert(at, chunks[at])
        case 2 if kind == b"IDAT":
            data = zlib.compress(bytes(random.choice((0, 100, 10**6))))
        case 3 | 4 if kind == b"IDAT":
            data = _packed_anew(data, random)
        case 5:
            chunks.insert(at, (random.choice((b"iCCP", b"tEXt", b"zTXt", b"tRNS", b"acTL")), data))
        case _:
            data = plain.mutated(data, other, random)
    chunks[at] = (kind, data)
    return content[:8] + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _packed_anew(data: bytes, random: Random) -> bytes:
    """The rows of pixels, each with its filter, changed and compressed again."""
    try:
        rows = zlib.decompress(data)
    except zlib.error:
        return plain.mutated(data, data, random)
    return zlib.compress(plain.mutated(rows, rows, random))


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


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">L4s", content, at)
        chunks.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks
