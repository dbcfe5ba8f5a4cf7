"""Extra fields of a zip archive's headers: those that give a file no other name, size or meaning.

Tools heed different ones, so a field that a reader may follow and another may not is a second
reading of the archive. (APPNOTE 4.5 and 4.6.)
"""

import struct
import zlib
from collections.abc import Mapping, Sequence

from app.errors import RejectedUpload

ZIP64 = 0x0001
UNICODE_NAME = 0x7075
# What common tools write beside sizes: times (7-Zip, Windows; Info-ZIP, old and new, macOS), owners
# (the same), the mark of Java's archiver, filling up to an even address (Android, .NET).
HARMLESS = frozenset({0x000A, 0x000D, 0x5455, 0x5855, 0x7855, 0x7875, 0xCAFE, 0xD935, 0xA220})
IN_ZIP64 = 0xFFFFFFFF
KIND_AND_LENGTH = struct.Struct("<2H")


def read_extras(extra: bytes, name: bytes) -> Mapping[int, bytes]:
    """The fields by kind, each of which may be there once.

    Raises: RejectedUpload where one of them can change what a reader sees.
    """
    found: dict[int, bytes] = {}
    at = 0
    while at < len(extra):
        if at + KIND_AND_LENGTH.size > len(extra):
            raise _unreadable(name)
        kind, length = KIND_AND_LENGTH.unpack_from(extra, at)
        at += KIND_AND_LENGTH.size
        value = extra[at : at + length]
        at += length
        if kind in found or len(value) < length:
            raise _unreadable(name)
        _check_kind(kind, value, name)
        found[kind] = value
    return found


def long_figures(extras: Mapping[int, bytes], figures: Sequence[int]) -> tuple[int, ...]:
    """The same figures of a header, each with 64 bits where it says that they are in the field.

    Raises: RejectedUpload where they are not, or something else is.
    """
    missing = sum(figure == IN_ZIP64 for figure in figures)
    field = extras.get(ZIP64, b"")
    if len(field) != 8 * missing or (ZIP64 in extras and not missing):
        raise RejectedUpload(
            "the archive is damaged where it gives sizes with 64 bits, or gives them twice",
            hint="Pack it again with a common tool.",
        )
    full = iter(struct.unpack(f"<{missing}Q", field))
    return tuple(next(full) if figure == IN_ZIP64 else figure for figure in figures)


def _check_kind(kind: int, value: bytes, name: bytes) -> None:
    if kind in HARMLESS or kind == ZIP64:
        return
    same = struct.pack("<BL", 1, zlib.crc32(name)) + name
    if kind == UNICODE_NAME and value == same:
        return
    what = "another name" if kind == UNICODE_NAME else f"the extra field {kind:#06x}"
    raise RejectedUpload(
        f"the archive gives {what} to {name[:80].decode('utf-8', 'replace')!r}",
        hint="Pack it again with a common tool, without a password, names in UTF-8.",
    )


def _unreadable(name: bytes) -> RejectedUpload:
    return RejectedUpload(
        f"the archive's extra fields of {name[:80].decode('utf-8', 'replace')!r} are damaged",
        hint="Pack it again with a common tool.",
    )
