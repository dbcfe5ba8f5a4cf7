"""Reads structures in Thrift's compact protocol, as far as the footer of a Parquet file needs it.

A structure becomes a dictionary from field numbers to values. It reads no more values than it is
told, nests no deeper than a footer does, and never goes past the end of its bytes.
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from enum import IntEnum
from typing import Any

MAX_DEPTH = 12
MAX_VARINT_BYTES = 10
LONG_LIST = 15


class Kind(IntEnum):
    STOP = 0
    TRUE = 1
    FALSE = 2
    BYTE = 3
    I16 = 4
    I32 = 5
    I64 = 6
    DOUBLE = 7
    BINARY = 8
    LIST = 9
    SET = 10
    STRUCT = 12


class Malformed(ValueError):
    """The bytes are no structure of this protocol, or one of more values than allowed."""


class Reader:
    """A position in some bytes, and how many values may still be read."""

    def __init__(self, content: bytes, max_values: int) -> None:
        self._content = content
        self._at = 0
        self._values_left = max_values

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Raises: Malformed."""
        if depth > MAX_DEPTH:
            raise Malformed("nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 0x0F
            number = number + step if step else self._integer()
            if number in fields:
                raise Malformed("a field twice")
            fields[number] = self._value(kind, depth, in_list=False)
        return fields

    def _value(self, kind: int, depth: int, *, in_list: bool) -> Any:
        self._values_left -= 1
        if self._values_left < 0:
            raise Malformed("too many values")
        if kind in (Kind.I16, Kind.I32, Kind.I64):
            return self._integer()
        if kind == Kind.BINARY:
            return self._take(self._varint())
        if kind == Kind.STRUCT:
            return self.struct(depth + 1)
        if kind in (Kind.LIST, Kind.SET):
            return self._list(depth + 1)
        if kind in (Kind.TRUE, Kind.FALSE):
            # In a list, the value is a byte of its own; in a structure, the kind says it.
            return (self._byte() if in_list else kind) == Kind.TRUE
        if kind == Kind.BYTE:
            return self._byte()
        if kind == Kind.DOUBLE:
            return self._take(8)
        raise Malformed(f"a value of kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        if depth > MAX_DEPTH:
            raise Malformed("nested too deeply")
        head = self._byte()
        count, kind = head >> 4, head & 0x0F
        if count == LONG_LIST:
            count = self._varint()
        if count > len(self._content) - self._at:
            raise Malformed("a list that is longer than what follows")
        return [self._value(kind, depth, in_list=True) for _ in range(count)]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._content):
            raise Malformed("cut off")
        return self._content[start : self._at]

    def _integer(self) -> int:
        """Zigzag: 0, -1, 1, -2, ... are written as 0, 1, 2, 3, ..."""
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = 0
        for position in range(MAX_VARINT_BYTES):
            byte = self._byte()
            number |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                return number
        raise Malformed("an endless number")
