"""Reads the wire format of protocol buffers, strictly: every reader must see the same message.

Protocol buffers let a field that stands for one value occur twice (the last one counts, messages
are merged), skip what they do not know, and take what is not text for text. Here all of this is
refused, or a stranger could show one graph to the inspector and another to TensorFlow.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from app.errors import RejectedUpload

# Five times what the largest network of keras.applications up to 30 million parameters has.
MAX_FIELDS = 4_000_000
MAX_SHOWN = 80
SIGN = 1 << 63
# Bytes of a number that has more of them.
CONTINUED = bytes(range(0x80, 0x100))
Value = int | bytes


class Kind(IntEnum):
    """How the value of a field is written."""

    NUMBER = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


class Spec(NamedTuple):
    """One field of a message. A repeated number may be packed into bytes."""

    name: str
    kind: Kind
    is_repeated: bool = False


Schema = Mapping[int, Spec]


class Message:
    """The fields of one message by name, each as its schema says."""

    def __init__(self, what: str, values: Mapping[str, list[Value]]) -> None:
        self.what = what
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> tuple[str, ...]:
        return tuple(self._values)

    def values(self, name: str) -> list[Value]:
        return self._values.get(name, [])

    def data(self, name: str) -> bytes:
        """Empty where the field is not there, as in proto3."""
        value = self._values.get(name, [b""])[0]
        return value if isinstance(value, bytes) else b""

    def many(self, name: str) -> list[bytes]:
        return [value for value in self._values.get(name, ()) if isinstance(value, bytes)]

    def number(self, name: str) -> int:
        """A whole number with its sign; 0 where the field is not there."""
        value = self._values.get(name, [0])[0]
        return signed(value) if isinstance(value, int) else 0

    def count_of_numbers(self, name: str) -> int:
        """How many a repeated field has, packed or not; they are not read."""
        values = self._values.get(name, ())
        return sum(
            len(one.translate(None, CONTINUED)) if isinstance(one, bytes) else 1 for one in values
        )

    def text(self, name: str) -> str:
        return decoded(self.data(name), f"{self.what}.{name}")

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(decoded(value, f"{self.what}.{name}") for value in self.many(name))


class Wire:
    """Reads messages; how many fields, over all of them, is bounded."""

    def __init__(self, max_fields: int = MAX_FIELDS) -> None:
        self._left = max_fields

    def read(self, data: bytes, schema: Schema, what: str) -> Message:
        """One message; those inside it stay bytes.

        Raises: RejectedUpload.
        """
        values: dict[str, list[Value]] = {}
        for number, kind, value in fields(data, what):
            self._left -= 1
            if self._left < 0:
                raise RejectedUpload("the SavedModel's graph has too many parts to be read")
            spec = schema.get(number)
            if spec is None:
                raise broken(what, f"it has a field {number} that is not known here")
            is_packed = spec.is_repeated and kind == Kind.BYTES
            if kind != spec.kind and not is_packed:
                raise broken(what, f"its field {spec.name!r} is of another type")
            if spec.name in values and not spec.is_repeated:
                raise broken(what, f"its field {spec.name!r} is there twice")
            values.setdefault(spec.name, []).append(value)
        return Message(what, values)

    def map(self, entries: list[bytes], schema: Schema, what: str) -> dict[str, Message]:
        """A map field: every entry under its key, which may be there once."""
        found: dict[str, Message] = {}
        for data in entries:
            entry = self.read(data, schema, what)
            key = entry.text("key")
            if key in found:
                raise broken(what, f"its key {key[:MAX_SHOWN]!r} is there twice")
            found[key] = entry
        return found


def fields(data: bytes, what: str) -> Iterator[tuple[int, int, Value]]:
    """Number, kind and value of every field.

    Raises: RejectedUpload where a length leads out of the message.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = varint(data, at, what)
        kind = tag & 7
        value: Value
        if kind == Kind.NUMBER:
            value, at = varint(data, at, what)
        else:
            length, at = _length(data, at, kind, what)
            if length > end - at:
                raise broken(what, "it is cut off")
            value, at = data[at : at + length], at + length
        yield tag >> 3, kind, value


def varint(data: bytes, at: int, what: str) -> tuple[int, int]:
    """A number of 7 bits to a byte, the lowest first, and where the next thing begins."""
    number = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise broken(what, "a number in it is too long")
    except IndexError:
        raise broken(what, "it is cut off") from None
    if number >= 1 << 64:
        raise broken(what, "a number in it is too large")
    return number, at


def numbers(message: Message, name: str) -> list[int]:
    """The values of a repeated number, packed or not."""
    found: list[int] = []
    for value in message.values(name):
        if isinstance(value, int):
            found.append(signed(value))
            continue
        at = 0
        while at < len(value):
            number, at = varint(value, at, message.what)
            found.append(signed(number))
    return found


def signed(number: int) -> int:
    return number - (1 << 64) if number >= SIGN else number


def decoded(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise broken(what, "it is not UTF-8 text") from None


def broken(what: str, why: str) -> RejectedUpload:
    return RejectedUpload(
        f"the SavedModel is damaged at {what[: 2 * MAX_SHOWN]}: {why}",
        hint="Save the model again with tf.saved_model.save or model.export; check that it loads.",
    )


def _length(data: bytes, at: int, kind: int, what: str) -> tuple[int, int]:
    if kind == Kind.BYTES:
        return varint(data, at, what)
    if kind == Kind.FIXED32:
        return 4, at
    if kind == Kind.FIXED64:
        return 8, at
    raise broken(what, f"it has a value of the unknown kind {kind}")
