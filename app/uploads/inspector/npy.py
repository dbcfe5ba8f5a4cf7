"""Reads the `.npy` members of an archive: headers by pattern, values in pieces, never a pickle."""

import math
import re
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import RejectedUpload
from app.uploads.archive_members import open_member

Array = NDArray[Any]
PIECE_BYTES = 4 * 2**20
# As NumPy has it.
MAX_HEADER_BYTES = 10_000
MAX_AXES = 16
# Rows of an array in Fortran order lie apart; where rows are needed, it is read whole.
MAX_FORTRAN_BYTES = 256 * 2**20
# A size as Python writes it; Python 2 added an L to long ones, which version 3 no longer knows.
SIZE = r"(?:0|[1-9][0-9]{0,18})"
TYPE = r"'[<>|=](?:b1|[iu][1248]|f[248])'"
HEADER = re.compile(
    rf"\{{'descr': (?P<descr>{TYPE}), "
    r"'fortran_order': (?P<fortran>True|False), "
    rf"'shape': \((?P<shape>|{SIZE}L?,|{SIZE}L?(?:, ?{SIZE}L?)+,?)\),? ?\}} *\n?"
)
VERSIONS = (b"\x01\x00", b"\x02\x00", b"\x03\x00")
NUMBERS = (
    "Arrays must hold numbers: bool, int8..int64, uint8..uint64, float16..float64. "
    "Encode text and dates as numbers first; write them with numpy.savez."
)
ANY_TYPE = re.compile(r"'descr': (?P<descr>[^}]{1,60}?), 'fortran_order'")


class Header(NamedTuple):
    """What an array says of itself: [rows, ...]; `offset` is where its values begin."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    offset: int

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[1:]


def read_header(archive: zipfile.ZipFile, entry: str) -> Header:
    """The header of one member, if what it declares is there.

    Raises: RejectedUpload.
    """
    with open_member(archive, entry) as stream:
        header = _parsed(entry, *_header_text(entry, stream))
    declared = math.prod(header.shape) * header.dtype.itemsize
    stored = archive.getinfo(entry).file_size - header.offset
    if declared != stored:
        raise RejectedUpload(
            f"{entry!r} declares {declared} bytes of values but stores {stored}",
            hint="The file is cut off, or was changed by hand: write it again with numpy.savez.",
        )
    return header


def flat_pieces(archive: zipfile.ZipFile, entry: str, header: Header) -> Iterator[Array]:
    """The values in pieces, in the order they are stored: each [values].

    Raises: RejectedUpload.
    """
    piece_bytes = PIECE_BYTES // header.dtype.itemsize * header.dtype.itemsize
    for chunk in _chunks(archive, entry, header, piece_bytes):
        yield np.frombuffer(chunk, header.dtype)


def row_pieces(archive: zipfile.ZipFile, entry: str, header: Header) -> Iterator[Array]:
    """The values in pieces of whole rows: each [some rows, *row_shape].

    Raises: RejectedUpload.
    """
    row_bytes = math.prod(header.row_shape) * header.dtype.itemsize
    total_bytes = row_bytes * header.shape[0]
    if header.is_fortran and len(header.shape) > 1:
        if total_bytes > MAX_FORTRAN_BYTES:
            raise RejectedUpload(
                f"{entry!r} is too large to be stored in Fortran order",
                hint="Save numpy.ascontiguousarray(...) of it.",
            )
        for chunk in _chunks(archive, entry, header, max(1, total_bytes)):
            yield np.frombuffer(chunk, header.dtype).reshape(header.shape, order="F")
        return
    rows = max(1, PIECE_BYTES // max(1, row_bytes))
    for chunk in _chunks(archive, entry, header, rows * row_bytes):
        yield np.frombuffer(chunk, header.dtype).reshape(-1, *header.row_shape)


def _chunks(
    archive: zipfile.ZipFile, entry: str, header: Header, chunk_bytes: int
) -> Iterator[bytes]:
    with open_member(archive, entry) as stream:
        stream.read(header.offset)
        while chunk := stream.read(chunk_bytes):
            yield chunk


def _header_text(entry: str, stream: BinaryIO) -> tuple[str, int]:
    """The header as it is written, and where the values begin."""
    start = stream.read(8)
    version = start[6:8]
    if start[:6] != b"\x93NUMPY" or version not in VERSIONS:
        raise RejectedUpload(f"{entry!r} is not a NumPy array", hint="Write it with numpy.savez.")
    width = 2 if version == VERSIONS[0] else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > MAX_HEADER_BYTES:
        raise RejectedUpload(f"{entry!r} has a header of {length} bytes")
    text = stream.read(length).decode("latin-1")
    if version == VERSIONS[2] and "L" in text:
        raise RejectedUpload(f"{entry!r} has an unreadable header", hint=NUMBERS)
    return text, 8 + width + length


def _parsed(entry: str, text: str, offset: int) -> Header:
    match = HEADER.fullmatch(text)
    if not match:
        found = ANY_TYPE.search(text)
        if found and not re.fullmatch(TYPE, found["descr"]):
            raise RejectedUpload(f"{entry!r} holds values of type {found['descr']}", hint=NUMBERS)
        raise RejectedUpload(
            f"{entry!r} has an unreadable header", hint="Write it again with numpy.savez."
        )
    shape = tuple(int(size) for size in re.findall(SIZE, match["shape"]))
    if not 1 <= len(shape) <= MAX_AXES or 0 in shape:
        raise RejectedUpload(
            f"{entry!r} has shape {shape}",
            hint=f"The first axis counts rows; 1 to {MAX_AXES} axes are read, none of them empty.",
        )
    return Header(np.dtype(match["descr"].strip("'")), shape, match["fortran"] == "True", offset)
