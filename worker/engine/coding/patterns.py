"""Bit patterns of floats, plane by plane: exponents are few, the last bits of mantissas noise."""

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.coder import IntArray
from worker.engine.coding.forms import Patterns
from worker.engine.coding.planes import ALONE, AROUND
from worker.engine.coding.stream import Field, Stream

AS_IS = 2
# The best mode for this many bytes is taken for the whole plane.
SAMPLE = 1 << 15
# Planes of bytes have keys of their own in a stream: by item size and place; negative zeros have 0.
KEYS = 16


def code_patterns(
    stream: Stream, size: tuple[int, int], width: int, given: Patterns | None
) -> Patterns:
    """Write flat patterns, or read as many as `size` says: count, bytes of one. Returns them.

    Patterns are rotated left by one bit, so that the highest plane of a float32 is its exponent.
    """
    count, item_bytes = size
    kind = np.dtype(f"<u{item_bytes}")
    bits = kind.type(8 * item_bytes - 1)
    one = kind.type(1)
    planes = np.zeros((count, item_bytes), np.uint8)
    if given is not None:
        rotated = np.ascontiguousarray((given << one) | (given >> bits)).astype(kind, copy=False)
        planes[:] = rotated.reshape(-1).view(np.uint8).reshape(count, item_bytes)
    for place in range(item_bytes - 1, -1, -1):
        key = KEYS * item_bytes + place
        plane = np.ascontiguousarray(planes[:, place])
        mode = stream.number(Field.PLANE_MODE, _mode_of(stream, plane, width, key, given), AS_IS)
        planes[:, place] = _code_plane(stream, plane, width, mode, key)
    rotated = planes.reshape(-1).view(kind)
    return (rotated >> one) | (rotated << bits)


def code_byte_numbers(
    stream: Stream, count: int, width: int, given: NDArray[np.int32] | None
) -> NDArray[np.int32]:
    """Whole numbers as bytes: as many planes as the largest needs, the highest first."""
    least, most = (int(given.min()), int(given.max())) if given is not None else (0, 0)
    needed = max(most.bit_length(), (-least - 1).bit_length() if least < 0 else 0) // 8
    more = stream.number(Field.PLANES, needed, 3)
    half = 1 << (8 * more + 7)
    made = np.zeros(count, np.int64)
    if given is not None:
        made[:] = given
        made += half
    for place in range(more, -1, -1):
        plane = ((made >> (8 * place)) & 255).astype(np.uint8)
        stream.plane(plane, width, AROUND if place == more else ALONE, KEYS + 4 * more + place)
        if given is None:
            made |= plane.astype(np.int64) << (8 * place)
    return (made - half).astype(np.int32)


def _code_plane(
    stream: Stream, plane: NDArray[np.uint8], width: int, mode: int, key: int
) -> NDArray[np.uint8]:
    if mode == AS_IS:
        values: IntArray = plane.astype(np.int64)
        return stream.bits(values, 8).astype(np.uint8)
    stream.plane(plane, width, mode, key)
    return plane


def _mode_of(
    stream: Stream, plane: NDArray[np.uint8], width: int, key: int, given: Patterns | None
) -> int:
    """What takes the fewest bytes on a part of the plane; when reading, it does not matter."""
    if given is None or plane.size == 0:
        return ALONE
    part = plane[:SAMPLE].copy()
    sizes: list[int] = []
    for mode in (ALONE, AROUND, AS_IS):
        trial = stream.fork()
        _code_plane(trial, part.copy(), width, mode, key)
        sizes.append(trial.position)
    return sizes.index(min(sizes))
