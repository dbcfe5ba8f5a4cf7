"""Writes and reads one tensor; the writer tries what may suit it and keeps the smallest."""

import math
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.errors import PackedFileDamaged
from worker.engine.coding.forms import (
    NEGATIVE_ZERO,
    Form,
    Patterns,
    Stored,
    Tensor,
    forms_of,
    patterns_of,
    values_of_grid,
)
from worker.engine.coding.matrices import SMALL, Arrangement, arrangements_of, code_numbers
from worker.engine.coding.patterns import code_patterns
from worker.engine.coding.stream import Field, Stream
from worker.engine.quantizing.levels import Levels

FEW_SCALES = 256
MANTISSA = 23


def write_tensor(stream: Stream, tensor: Tensor, levels: Levels | None) -> None:
    """Write it in the form and the arrangement that take the fewest bytes."""
    forms = forms_of(tensor, levels)
    options = [
        (stored, arrangement)
        for stored in (islice(forms, 1) if tensor.size > SMALL else forms)
        for arrangement in arrangements_of(stored.numbers)
    ]
    tried = [_cost(stream, *option) for option in options] if len(options) > 1 else [0.0]
    stored, arrangement = options[tried.index(min(tried))]
    _code(stream, stored.patterns.shape, tensor.dtype, stored, arrangement)


def read_tensor(stream: Stream, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Tensor:
    """The tensor that comes next. Raises: PackedFileDamaged."""
    patterns = _code(stream, shape, dtype, None, Arrangement())
    return patterns.view(dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _cost(stream: Stream, stored: Stored, arrangement: Arrangement) -> float:
    trial = stream.fork()
    dtype = np.dtype(f"u{stored.patterns.dtype.itemsize}")
    _code(trial, stored.patterns.shape, dtype, stored, arrangement)
    # The bytes that are settled, and the bits by which the interval is narrower than it may be.
    return trial.position - math.log2(int(trial.registers[1] - trial.registers[0]) + 1) / 8


def _code(
    stream: Stream,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    stored: Stored | None,
    arrangement: Arrangement,
) -> Patterns:
    """Write `stored`, or read where there is none. Returns the patterns."""
    if math.prod(shape) == 0:
        return np.zeros(shape, np.dtype(f"<u{dtype.itemsize}"))
    form = stream.number(Field.FORM, stored.form if stored else 0, max(Form))
    if form == Form.GRID:
        return _code_grid(stream, shape, stored, arrangement)
    if form == Form.PALETTE:
        return _code_palette(stream, shape, dtype, stored, arrangement)
    if form == Form.SPARSE:
        return _code_sparse(stream, shape, dtype, stored, arrangement)
    if form == Form.INTEGERS:
        given = stored.numbers if stored else None
        numbers = code_numbers(stream, shape, given, arrangement)
        return stored.patterns if stored else patterns_of(_as_type(numbers, dtype))
    flat = stored.patterns.reshape(-1) if stored else None
    size = (math.prod(shape), dtype.itemsize)
    return code_patterns(stream, size, shape[-1] if shape else 1, flat).reshape(shape)


def _as_type(numbers: NDArray[np.int32], dtype: np.dtype[np.generic]) -> Tensor:
    with np.errstate(over="ignore"):
        return numbers.astype(dtype)


def _code_grid(
    stream: Stream, shape: tuple[int, ...], stored: Stored | None, arrangement: Arrangement
) -> Patterns:
    edges: list[int] = []
    for axis, length in enumerate(shape):
        given = stored.edges[axis] if stored else 0
        told = stream.number(Field.EDGE, 0 if given == length else given, length)
        edges.append(told or length)
    blocks = tuple(-(-n // edge) for n, edge in zip(shape, edges, strict=True))
    scale = _code_scales(stream, blocks, stored.scale if stored else None)
    numbers = code_numbers(stream, shape, stored.numbers if stored else None, arrangement)
    zeros = _code_negative_zeros(stream, numbers, stored.negative_zeros if stored else None)
    if stored:
        return stored.patterns
    with np.errstate(all="ignore"):
        patterns = patterns_of(values_of_grid(numbers, scale, tuple(edges))).copy()
    patterns[numbers == 0] = np.where(zeros, NEGATIVE_ZERO, 0)
    return patterns


def _code_scales(
    stream: Stream, shape: tuple[int, ...], scale: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Few ones bit by bit, with as many bits behind the point as they need; many as patterns."""
    count = math.prod(shape)
    given = patterns_of(scale).reshape(-1) if scale is not None else None
    if count > FEW_SCALES:
        many = code_patterns(stream, (count, 4), 1, given)
        return many.view("<f4").reshape(shape)
    bits = given.astype(np.int64) if given is not None else np.zeros(count, np.int64)
    used = int(np.bitwise_or.reduce(bits)) & ((1 << MANTISSA) - 1)
    trailing = (used & -used).bit_length() - 1 if used else MANTISSA
    kept = stream.number(Field.MANTISSA_BITS, MANTISSA - trailing, MANTISSA)
    signs = stream.bits(bits >> 31, stream.number(Field.NEGATIVE, int((bits >> 31).any()), 1))
    exponents = [_code_exponent(stream, int(value >> MANTISSA) & 255) for value in bits]
    mantissas = stream.bits((bits >> (MANTISSA - kept)) & ((1 << kept) - 1), kept)
    made = (mantissas << (MANTISSA - kept)) | (np.array(exponents, np.int64) << MANTISSA)
    return (made | (signs << 31)).astype("<u4").view("<f4").reshape(shape)


def _code_exponent(stream: Stream, exponent: int) -> int:
    """Near that of 1 / 32, from where most scales are: 0, 1, -1, 2, ... by distance."""
    distance = exponent - 122
    told = stream.number(Field.EXPONENT, 2 * distance - 1 if distance > 0 else -2 * distance, 265)
    return (122 + ((told + 1) // 2 if told % 2 else -told // 2)) & 255


def _code_negative_zeros(
    stream: Stream, numbers: NDArray[np.int32], given: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    count = int(numbers.size - np.count_nonzero(numbers))
    some = int(given.any()) if given is not None else 0
    has_some = stream.number(Field.NEGATIVE_ZEROS, some, 1)
    if not has_some:
        return np.zeros(count, np.bool_)
    packed = np.packbits(given) if given is not None else np.zeros(-(-count // 8), np.uint8)
    stream.plane(packed, 1, 0, key=0)
    return np.unpackbits(packed, count=count).astype(np.bool_)


def _code_palette(
    stream: Stream,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    stored: Stored | None,
    arrangement: Arrangement,
) -> Patterns:
    palette = stored.palette if stored else None
    axis = stream.number(Field.PALETTE_AXIS, palette.axis + 1 if palette else 0, len(shape)) - 1
    channels = shape[axis] if axis >= 0 else 1
    lengths, below = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for k in range(channels):
        given = (int(palette.lengths[k]), int(palette.below[k])) if palette else (0, 0)
        most = math.prod(shape) // channels
        lengths[k] = stream.number(Field.PALETTE_LENGTH, given[0], most)
        below[k] = stream.number(Field.BELOW_ZERO, given[1], int(lengths[k]))
    total = int(lengths.sum())
    given_colors = palette.colors if palette else None
    colors = code_patterns(stream, (total, dtype.itemsize), 1, given_colors)
    numbers = code_numbers(stream, shape, stored.numbers if stored else None, arrangement)
    if stored:
        return stored.patterns
    starts = np.cumsum(lengths) - lengths
    spread = [1] * len(shape)
    if axis >= 0:
        spread[axis] = channels
    index = numbers + (below + starts).reshape(spread if axis >= 0 else 1)
    if total == 0 or index.min() < 0 or index.max() >= total:
        raise PackedFileDamaged("a weight has a number that its palette does not have")
    return colors[index].reshape(shape)


def _code_sparse(
    stream: Stream,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    stored: Stored | None,
    arrangement: Arrangement,
) -> Patterns:
    """Which are not zero, then the patterns of those."""
    mask = code_numbers(stream, shape, stored.numbers if stored else None, arrangement) != 0
    given = stored.patterns[mask] if stored else None
    found = code_patterns(stream, (int(mask.sum()), dtype.itemsize), 1, given)
    patterns = np.zeros(shape, np.dtype(f"<u{dtype.itemsize}"))
    patterns[mask] = found
    return patterns
