"""Reads the sorted table that TensorFlow keeps an index of variables in (LevelDB's format).

A table is blocks of entries, each block with a checksum; an index block says where they are; the
last 48 bytes say where the index block is. Keys are written as what differs from the key before.
"""

import struct
from collections.abc import Iterator
from functools import cache

from app.errors import RejectedUpload
from app.uploads.inspector.saved_model.wire import varint

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
# Behind every block: its compression, and the checksum of both.
TRAILER_BYTES = 5
UNCOMPRESSED = 0
MAX_ENTRIES = 100_000
MAX_KEY_BYTES = 1_000
CRC32C = 0x82F63B78
MASK_DELTA = 0xA282EAD8
WHAT = "variables.index"


def read_table(content: bytes) -> dict[str, bytes]:
    """Every entry, in the order of the keys.

    Raises: RejectedUpload where the table does not hang together.
    """
    if len(content) < FOOTER_BYTES:
        raise damaged("it is cut off")
    footer = content[-FOOTER_BYTES:]
    if struct.unpack_from("<Q", footer, FOOTER_BYTES - 8)[0] != MAGIC:
        raise damaged("it is no table")
    _, after = _handle(footer, 0)
    index, _ = _handle(footer, after)
    entries: dict[str, bytes] = {}
    last: bytes | None = None
    for _, handle in _entries(_block(content, index)):
        before = len(entries)
        for key, value in _entries(_block(content, _handle(handle, 0)[0])):
            if (last is not None and key <= last) or len(entries) == MAX_ENTRIES:
                raise damaged("its keys are not in order, or too many")
            last = key
            entries[_text(key)] = value
        if len(entries) == before:
            raise damaged("a block of it is empty")
    return entries


def damaged(why: str) -> RejectedUpload:
    return RejectedUpload(
        f"{WHAT} of the SavedModel is damaged: {why}",
        hint="Save the model again; check that it loads.",
    )


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and length of a block, and where the next thing begins."""
    offset, at = varint(data, at, WHAT)
    length, at = varint(data, at, WHAT)
    return (offset, length), at


def _block(content: bytes, handle: tuple[int, int]) -> bytes:
    offset, length = handle
    end = offset + length
    if end + TRAILER_BYTES > len(content) - FOOTER_BYTES:
        raise damaged("a block lies outside of it")
    kind, stored = struct.unpack_from("<BI", content, end)
    if kind != UNCOMPRESSED:
        raise damaged("a block is compressed, which TensorFlow never does")
    if _masked(crc32c(content[offset : end + 1])) != stored:
        raise damaged("the checksum of a block is wrong")
    return content[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; behind them are places to start from, and their number."""
    if len(block) < 4:
        raise damaged("a block is too short")
    restarts = struct.unpack_from("<I", block, len(block) - 4)[0]
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise damaged("a block is too short")
    data, at, key = block[:end], 0, b""
    while at < end:
        shared, at = varint(data, at, WHAT)
        added, at = varint(data, at, WHAT)
        size, at = varint(data, at, WHAT)
        if shared > len(key) or added + size > end - at or shared + added > MAX_KEY_BYTES:
            raise damaged("an entry lies outside of its block")
        key = key[:shared] + data[at : at + added]
        yield key, data[at + added : at + added + size]
        at += added + size


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise damaged("a key is not text") from None


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, appendix B.4, by one table."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    return tuple(_crc_of(byte) for byte in range(256))


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (CRC32C if byte & 1 else 0)
    return byte


def _masked(crc: int) -> int:
    """As it is stored: a checksum of data that holds checksums would be a weak one."""
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF
