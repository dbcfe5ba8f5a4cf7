"""The weights of a SavedModel: an index of variables, and shards that hold their values."""

import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import RejectedUpload
from app.recipes.saved_model_files import INDEX, shard_name
from app.uploads.archive_members import open_member, read_member
from app.uploads.inspector.saved_model.messages import BUNDLE_ENTRY, BUNDLE_HEADER
from app.uploads.inspector.saved_model.objects import Objects
from app.uploads.inspector.saved_model.table import damaged, read_table
from app.uploads.inspector.saved_model.tensors import ITEM_BYTES, full_shape, read_type
from app.uploads.inspector.saved_model.wire import Wire

MAX_INDEX_BYTES = 16 * 2**20
PIECE_BYTES = 2**20
HEADER = ""
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
FLOATS: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
# How an object's name is written in a key: `.` and `/` have a meaning of their own there.
ESCAPED = re.compile(r"\.\.|\.S")


class Stored(NamedTuple):
    """Where the values of one variable are."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int

    @property
    def end(self) -> int:
        return self.offset + self.size_bytes


def check_variables(
    wire: Wire, archive: zipfile.ZipFile, files: Mapping[str, str], objects: Objects
) -> None:
    """Every variable is stored as it is declared, with finite values.

    Args:
        files: member of the archive, by what the file is called in a SavedModel folder.
    Raises: RejectedUpload.
    """
    entries = (
        read_table(read_member(archive, files[INDEX], MAX_INDEX_BYTES)) if INDEX in files else {}
    )
    shards = _shard_count(wire, entries, files) if INDEX in files else 0
    stored = [_stored(wire, key, data, shards) for key, data in entries.items() if key != HEADER]
    _check_declared(stored, objects)
    for number in range(shards):
        member = files[shard_name(number, shards)]
        here = sorted((one for one in stored if one.shard == number), key=lambda one: one.offset)
        _check_places(here, archive.getinfo(member).file_size, member)
        with open_member(archive, member) as stream:
            _check_values(stream, here)


def _shard_count(wire: Wire, entries: Mapping[str, bytes], files: Mapping[str, str]) -> int:
    if HEADER not in entries:
        raise damaged("it has no header")
    header = wire.read(entries[HEADER], BUNDLE_HEADER, "variables.index")
    shards = header.number("shards")
    if not 0 < shards < len(files) or shard_name(0, shards) not in files:
        raise damaged(f"it counts {shards} shards, which are not there")
    if header.number("endianness"):
        raise damaged("its numbers are big-endian")
    return shards


def _stored(wire: Wire, key: str, data: bytes, shards: int) -> Stored:
    shown = shown_name(key)
    entry = wire.read(data, BUNDLE_ENTRY, f"variable {shown!r}")
    dtype = read_type(entry.number("dtype"), f"variable {shown!r}")
    shape = full_shape(wire, entry.data("shape"), f"variable {shown!r}")
    stored = Stored(
        key, dtype, shape, entry.number("shard"), entry.number("offset"), entry.number("size")
    )
    if dtype not in ITEM_BYTES and dtype != "string":
        raise damaged(f"variable {shown!r} holds values of type {dtype}")
    declared = math.prod(shape) * ITEM_BYTES.get(dtype, 0)
    if dtype != "string" and declared != stored.size_bytes:
        raise damaged(
            f"variable {shown!r} declares {declared} bytes but stores {stored.size_bytes}"
        )
    if not 0 <= stored.shard < shards or stored.offset < 0 or stored.size_bytes < 0:
        raise damaged(f"variable {shown!r} is in a shard that is not there")
    return stored


def _check_declared(stored: Sequence[Stored], objects: Objects) -> None:
    """Variables of the object graph and those in the index are the same."""
    found: set[int] = set()
    for one in stored:
        path = one.key.removesuffix(VALUE)
        number = objects.variable_at([_unescaped(name) for name in path.split("/")])
        if path == one.key or number is None:
            continue
        found.add(number)
        variable = objects.variables[number]
        if variable.shape != one.shape or variable.dtype != one.dtype:
            raise RejectedUpload(
                f"the variable {variable.name!r} is declared as {variable.dtype} of shape "
                f"{list(variable.shape)}, but stored as {one.dtype} of shape {list(one.shape)}",
                hint="Save the model again with tf.saved_model.save or model.export.",
            )
    for number, variable in objects.variables.items():
        if number not in found:
            raise RejectedUpload(
                f"the values of the variable {variable.name!r} are not stored",
                hint="Zip the whole folder that was saved, with variables/.",
            )


def _check_places(stored: Sequence[Stored], size_bytes: int, member: str) -> None:
    """In the order of their offsets, none overlaps the one before or leads out of the shard."""
    end = 0
    for one in stored:
        if one.offset < end or one.end > size_bytes:
            raise damaged(f"variable {shown_name(one.key)!r} lies outside of {member[-60:]!r}")
        end = one.end


def _check_values(stream: BinaryIO, stored: Sequence[Stored]) -> None:
    """Read a shard to its end; NaN and infinity are refused."""
    at = 0
    for one in stored:
        _skip(stream, one.offset - at)
        bad = sum(_not_finite(piece, one.dtype) for piece in _pieces(stream, one.size_bytes))
        at = one.end
        if bad:
            raise RejectedUpload(
                f"{bad} of {math.prod(one.shape)} values of the variable "
                f"{shown_name(one.key)!r} are NaN or infinite",
                hint="Training diverged before the model was saved; upload an earlier state.",
            )
    while stream.read(PIECE_BYTES):
        pass


def _skip(stream: BinaryIO, count: int) -> None:
    for _ in _pieces(stream, count):
        pass


def _pieces(stream: BinaryIO, count: int) -> Iterator[bytes]:
    while count > 0 and (piece := stream.read(min(count, PIECE_BYTES))):
        count -= len(piece)
        yield piece


def _not_finite(piece: bytes, dtype: str) -> int:
    if dtype not in FLOATS:
        return 0
    values: NDArray[Any] = np.frombuffer(piece, FLOATS[dtype])
    if dtype == "bfloat16":
        # NumPy has no such type: all bits of the exponent are set.
        return int(np.count_nonzero((values & 0x7F80) == 0x7F80))
    return int(values.size - np.count_nonzero(np.isfinite(values)))


def _unescaped(name: str) -> str:
    return ESCAPED.sub(lambda match: "." if match[0] == ".." else "/", name)


def shown_name(key: str) -> str:
    """A key as it can be shown; `!r` around it takes care of what cannot."""
    return key.removesuffix(VALUE)[:200]
