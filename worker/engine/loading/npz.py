"""Reads `.npz` data sets. Never pickles.

Arrays stored as they are get memory-mapped; large compressed ones are unpacked into a file first.
"""

import math
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from app.errors import DataNotUsable
from worker.engine.loading.arrays import HELD_BYTES, Array, Stored, StoredData

ROLES = ("x", "y")
LOCAL_HEADER_BYTES = 30


def read_npz(path: Path) -> StoredData:
    """`x_train y_train x_test y_test`, or `x y`; several inputs or outputs as `x_train.<name>`.

    Raises: DataNotUsable if the archive is damaged, holds objects, or lacks its input arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_members(path, archive)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise DataNotUsable(
            f"the npz file cannot be read: {error}",
            hint="Write it with numpy.savez or numpy.savez_compressed, without object arrays.",
        ) from error


def _read_members(path: Path, archive: zipfile.ZipFile) -> StoredData:
    members = {name.removesuffix(".npy"): name for name in archive.namelist()}
    suffixes = ("_train", "_test") if any(_part(m, "x_train") for m in members) else ("",)
    splits: list[Stored] = []
    used: set[str] = set()
    for suffix in suffixes:
        found: list[dict[str | None, Array]] = []
        for role in ROLES:
            wanted = [member for member in members if _part(member, role + suffix)]
            used.update(wanted)
            found.append(
                {
                    _name(member, role + suffix): _read(path, archive, members[member])
                    for member in wanted
                }
            )
        splits.append(Stored(*found))
    _require_inputs(splits, suffixes, tuple(members))
    unused = sorted(set(members) - used)
    notes = (f"arrays not used: {', '.join(unused)}",) if unused else ()
    return StoredData(splits[0], splits[1] if len(splits) > 1 else None, notes)


def _require_inputs(
    splits: list[Stored], suffixes: tuple[str, ...], members: tuple[str, ...]
) -> None:
    for split, suffix in zip(splits, suffixes, strict=True):
        if not split.inputs:
            raise DataNotUsable(
                f"no array x{suffix} (or x{suffix}.<input name>); the file holds "
                f"{', '.join(sorted(members)) or 'nothing'}",
                hint="Name the arrays x_train, y_train, x_test, y_test; or x and y.",
            )


def _part(member: str, stem: str) -> bool:
    return member == stem or member.startswith(f"{stem}.")


def _name(member: str, stem: str) -> str | None:
    return member.removeprefix(f"{stem}.") if member != stem else None


def _read(path: Path, archive: zipfile.ZipFile, member: str) -> Array:
    info = archive.getinfo(member)
    with archive.open(info) as stream:
        shape, is_fortran, dtype = _header(stream)
        if dtype.hasobject:
            raise ValueError(f"{member} holds Python objects")
        if 0 in shape or not shape:
            return np.zeros(shape, dtype)
        layout: dict[str, Any] = {
            "dtype": dtype,
            "mode": "r",
            "shape": shape,
            "order": "F" if is_fortran else "C",
        }
        if info.compress_type == zipfile.ZIP_STORED:
            offset = _content_offset(path, info) + stream.tell()
            return np.memmap(path, offset=offset, **layout)
        if math.prod(shape) * dtype.itemsize > HELD_BYTES:
            with tempfile.TemporaryFile() as unpacked:
                shutil.copyfileobj(stream, unpacked, 1 << 20)
                unpacked.flush()
                # The mapping keeps the nameless file alive, and nothing else does.
                return np.memmap(unpacked, **layout)
    with archive.open(info) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the array whose values follow."""
    is_first = np.lib.format.read_magic(stream) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    return shape, is_fortran, dtype


def _content_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: after its local header (APPNOTE 4.3.7)."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(LOCAL_HEADER_BYTES)
    name_length = int.from_bytes(header[26:28], "little")
    extra_length = int.from_bytes(header[28:30], "little")
    return info.header_offset + LOCAL_HEADER_BYTES + name_length + extra_length
