"""The heaps in which HDF5 keeps texts of any length, gone through before the library does.

It goes from one text to the next by the sizes that the file states, and stands still for ever on a
gap of size 0. (HDF5 File Format Specification 3.0, III.E "Global Heap".)
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from app.errors import RejectedUpload

PIECE_BYTES = 4 * 2**20
# Signature, version and three bytes that are zero; then the size of all.
SIGNATURE = b"GCOL\x01\x00\x00\x00"
HEADER_BYTES = 16
ENTRY_BYTES = 16
MAX_HEAP_BYTES = 64 * 2**20


def check_heaps(file: BinaryIO) -> int:
    """How long the longest text is.

    Raises: RejectedUpload where a heap has no end.
    """
    longest, file_bytes = 0, file.seek(0, os.SEEK_END)
    for start in _places(file):
        file.seek(start + len(SIGNATURE))
        (size,) = struct.unpack("<Q", file.read(8).ljust(8, b"\x00"))
        if size > MAX_HEAP_BYTES:
            # The library refuses what is larger than the file.
            longest = max(longest, size if start + size <= file_bytes else 0)
            continue
        content = file.read(max(0, size - HEADER_BYTES))
        text = _longest_text(content)
        if text is None:
            raise RejectedUpload(
                f"the HDF5 data is damaged: texts kept at byte {start} have no end",
                hint="Save the model again; check that it loads.",
            )
        longest = max(longest, text)
    file.seek(0)
    return longest


def _longest_text(content: bytes) -> int | None:
    """Null where the heap has no end."""
    at = longest = 0
    while at + ENTRY_BYTES <= len(content):
        index, _, size = struct.unpack_from("<HH4xQ", content, at)
        # The gap, which has the number 0, counts its own beginning; what is kept does not.
        step = size if index == 0 else ENTRY_BYTES + -(-size // 8) * 8
        if step < ENTRY_BYTES or step > len(content) - at:
            return None
        longest = max(longest, size if index else 0)
        at += step
    return longest


def _places(file: BinaryIO) -> Iterator[int]:
    """Where the signature stands, anywhere in the file."""
    begin, before = 0, b""
    while True:
        file.seek(begin)
        piece = file.read(PIECE_BYTES)
        if not piece:
            return
        window = before + piece
        at = window.find(SIGNATURE)
        while at >= 0:
            yield begin - len(before) + at
            at = window.find(SIGNATURE, at + 1)
        begin += len(piece)
        before = window[-(len(SIGNATURE) - 1) :]
