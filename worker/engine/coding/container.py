"""The outermost layer of a packed file: what it is, its code, and two checksums.

One is over what comes back: numbers that are decoded right may still land in other tensors, where
another version of Keras builds the model. The other is over all that stands before it.
"""

import zlib
from enum import IntEnum

from worker.engine.coding.errors import NotPacked, PackedFileDamaged

MAGIC = b"\x8fPJ"
VERSION = 2
CHECKSUM_BYTES = 4


class Kind(IntEnum):
    """What the code stands for."""

    MODEL = 0
    WHOLE_FILE = 1


def sealed(kind: Kind, code: bytes, of_unpacked: int) -> bytes:
    """The content of a packed file. `of_unpacked`: the CRC-32 of the file that comes back."""
    head = MAGIC + bytes([VERSION << 4 | kind])
    content = head + code + of_unpacked.to_bytes(CHECKSUM_BYTES, "little")
    return content + zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")


def opened(content: bytes) -> tuple[Kind, bytes, int]:
    """Kind, code and `of_unpacked` of a packed file, after its own checksum was found right.

    Raises: NotPacked, PackedFileDamaged.
    """
    head = len(MAGIC) + 1
    if content[: len(MAGIC)] != MAGIC or len(content) < head + 2 * CHECKSUM_BYTES:
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
            hint="Unpack it with the version of Penjing that made it.",
        )
    code, of_unpacked = content[head : -2 * CHECKSUM_BYTES], content[:-CHECKSUM_BYTES][-4:]
    return Kind(kind), code, int.from_bytes(of_unpacked, "little")
