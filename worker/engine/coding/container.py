"""The outermost layer of a packed file: what it is, its code, and a checksum over both."""

import zlib
from enum import IntEnum

from worker.engine.coding.errors import NotPacked, PackedFileDamaged

MAGIC = b"\x8fPJ"
VERSION = 1
CHECKSUM_BYTES = 4


class Kind(IntEnum):
    """What the code stands for."""

    MODEL = 0
    WHOLE_FILE = 1


def sealed(kind: Kind, code: bytes) -> bytes:
    """The content of a packed file."""
    content = MAGIC + bytes([VERSION << 4 | kind]) + code
    return content + zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")


def opened(content: bytes) -> tuple[Kind, bytes]:
    """Kind and code of a packed file, after its checksum was found right.

    Raises: NotPacked, PackedFileDamaged.
    """
    head = len(MAGIC) + 1
    if content[: len(MAGIC)] != MAGIC or len(content) < head + CHECKSUM_BYTES:
        raise NotPacked(
            f"a packed file begins with {MAGIC.hex(' ')}; this one has "
            f"{content[: len(MAGIC)].hex(' ') or 'nothing'}, and {len(content)} bytes in all",
            hint="Give a file that a job with the output 'packed' made.",
        )
    told = int.from_bytes(content[-CHECKSUM_BYTES:], "little")
    found = zlib.crc32(content[:-CHECKSUM_BYTES])
    if told != found:
        raise PackedFileDamaged(
            f"the checksum is {found:08x}, but the file says {told:08x}",
            hint="Bytes were changed or lost on the way: copy or download it again.",
        )
    version, kind = content[head - 1] >> 4, content[head - 1] & 15
    if version != VERSION or kind not in set(Kind):
        raise NotPacked(
            f"the file has version {version} and kind {kind}; known are version {VERSION} and the "
            f"kinds 0 to {max(Kind)}",
            hint="Unpack it with the version of Penjing that made it, or a later one.",
        )
    return Kind(kind), content[head:-CHECKSUM_BYTES]
