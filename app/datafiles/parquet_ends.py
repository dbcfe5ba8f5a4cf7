"""The first and the last bytes of a Parquet file; standard library only, so the door looks too."""

import os
from typing import BinaryIO

from app.datafiles.unreadable import UnreadableData

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
# Magic at both ends, and before the last the length of the footer.
END_BYTES = 8
MAX_FOOTER_BYTES = 16 * 2**20


def check_ends(file: BinaryIO) -> int:
    """Returns: the size of the file in bytes. Raises: UnreadableData."""
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(len(MAGIC))
    file.seek(max(0, size_bytes - END_BYTES))
    footer, end = file.read(4), file.read(4)
    if ENCRYPTED_MAGIC in (start, end):
        raise UnreadableData("the Parquet file is encrypted", hint="Write it without encryption.")
    if start != MAGIC or end != MAGIC:
        raise UnreadableData(
            "the Parquet file is cut off: it does not end with its footer",
            hint="Upload it again; check that it opens here.",
        )
    footer_bytes = int.from_bytes(footer, "little")
    if footer_bytes == 0 or footer_bytes > size_bytes - END_BYTES - len(MAGIC):
        raise UnreadableData(
            f"the Parquet file says that its footer has {footer_bytes} bytes; the whole file has "
            f"{size_bytes}",
            hint="Upload it again; check that it opens here.",
        )
    if footer_bytes > MAX_FOOTER_BYTES:
        raise UnreadableData(
            f"the footer of the Parquet file has {footer_bytes} bytes; at most "
            f"{MAX_FOOTER_BYTES} are read",
            hint="Write larger row groups.",
        )
    return size_bytes
