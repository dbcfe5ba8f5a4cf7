"""Archives of more files than a model has: pictures, told from a look at the table of contents.

To read a table of 100,000 names takes seconds and 50 MB. The API spares itself that: here it looks
at the first names only, and the inspector holds the archive against every rule.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from app.datafiles.image_folder import is_picture
from app.uploads.archive import MAX_ENTRIES
from app.uploads.archive_layout import find_contents

LOOKED_AT_BYTES = 2**16
ENTRY = struct.Struct("<4s24x3H12x")
ENTRY_RECORD = b"PK\x01\x02"


def has_many_pictures(file: BinaryIO) -> bool:
    """Whether pictures are among the first files of a long table of contents.

    Raises: RejectedUpload where the end of the archive is not as it should be.
    """
    contents = find_contents(file)
    if contents.entries <= MAX_ENTRIES:
        return False
    file.seek(contents.start)
    table = file.read(min(LOOKED_AT_BYTES, contents.table_bytes))
    return any(is_picture(name) for name in _names(table))


def _names(table: bytes) -> Iterator[str]:
    """Those that stand whole in the first bytes of a table of contents (APPNOTE 4.3.12)."""
    at = 0
    while len(table) - at >= ENTRY.size:
        signature, name_bytes, extra_bytes, comment_bytes = ENTRY.unpack_from(table, at)
        if signature != ENTRY_RECORD:
            return
        start = at + ENTRY.size
        yield table[start : start + name_bytes].decode("utf-8", "replace")
        at = start + name_bytes + extra_bytes + comment_bytes
