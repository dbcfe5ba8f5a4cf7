"""Reads lists and texts of a flatbuffer, of which several may lie on the same bytes."""

from typing import Any

import tflite
from flatbuffers import number_types

from app.errors import RejectedUpload
from app.uploads.inspector.shown import MAX_SHOWN, shown
from app.uploads.names import is_showable

# Of all lists together: a list that thousands of tables share is read thousands of times.
MAX_ITEMS = 2_000_000
MAX_NAME_LENGTH = 1_000


class Reader:
    """A file's content, and how much of it may still be read."""

    def __init__(self, content: Any) -> None:
        self.content = content
        self.model: Any = tflite.Model.GetRootAsModel(content, 0)
        self.file_bytes = len(content)
        self._left = MAX_ITEMS

    def indices(self, count: int) -> range:
        """Of a list so long. Raises: RejectedUpload where all of them are too long."""
        self._left -= count
        if self._left < 0:
            raise RejectedUpload(f"the lists in the model have more than {MAX_ITEMS} entries")
        return range(count)

    def name(self, table: Any, slot: int) -> str:
        """A name that can be shown; empty where there is none. `slot`: its place in the table.

        Raises: RejectedUpload.
        """
        raw = self.text(table, slot)
        try:
            name = raw.decode()
        except UnicodeDecodeError as error:
            # Interpreters fail at it when they are asked for the names.
            raise RejectedUpload(f"a name is not UTF-8 text: {shown(raw[:MAX_SHOWN])}") from error
        if not is_showable(name):
            raise RejectedUpload(
                f"a tensor or signature is called {shown(name)}",
                hint="Names may hold no control or direction characters, and none of < > & \" '.",
            )
        return name

    def number(self, table: Any, slot: int) -> int:
        """A whole number of 32 bits, as it stands there; 0 where there is none."""
        tab = table._tab
        offset = number_types.UOffsetTFlags.py_type(tab.Offset(4 + 2 * slot))
        return int(tab.Get(number_types.Int32Flags, offset + tab.Pos)) if offset else 0

    def text(self, table: Any, slot: int) -> bytes:
        """A text, its length looked at first. Raises: RejectedUpload."""
        tab = table._tab
        offset = number_types.UOffsetTFlags.py_type(tab.Offset(4 + 2 * slot))
        if offset == 0:
            return b""
        length = tab.VectorLen(offset)
        if length > MAX_NAME_LENGTH:
            raise RejectedUpload(f"a name has {length} bytes; {MAX_NAME_LENGTH} are the most")
        return bytes(tab.String(offset + tab.Pos))
