"""Writes and reads one tensor; the writer tries what may suit it and keeps the smallest."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.coder import IntArray
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
from worker.engine.coding.patterns import code_byte_numbers, code_patterns
from worker.engine.coding.sheets import Sheet
from worker.engine.coding.stream import Field, Stream
from worker.engine.quantizing.levels import Levels

# Up to this size every arrangement is tried; above, what is likely is taken.
SMALL = 1 << 18
# A larger tensor with fewer non-zeros than this is worth the slower coder.
DENSE = 0.35
FEW_SCALES = 256
MANTISSA = 23


@dataclass(frozen=True)
class Arrangement:
    """How whole numbers are put through the coder. `planes`: as bytes, without mixing."""

    planes: bool = False
    is_transposed: bool = False
    stride: int = 1
    far_stride: int = 1


def write_tensor(stream: Stream, tensor: Tensor, levels: Levels | None) -> None:
    """Write it in the form and the arrangement that take the fewest bytes."""
    options = [
        (stored, arrangement)
        for stored in forms_of(tensor, levels)
        for arrangement in _arrangements(stored)
    ]
    if len(options) > 1 and tensor.size > SMALL:
        options = options[-1:]
    tried = [_cost(stream, *option) for option in options] if len(options) > 1 else [0]
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


def _arrangements(stored: Stored) -> Iterator[Arrangement]:
    if stored.numbers is None:
        yield Arrangement()
        return
    shape, size = stored.numbers.shape, stored.numbers.size
    if size > SMALL:
        is_dense = np.count_nonzero(stored.numbers) > DENSE * size
        yield Arrangement(planes=is_dense, stride=1, far_stride=1)
        return
    yield Arrangement(planes=True)
    if len(shape) < 2:
        yield Arrangement()
        return
    rows = size // max(1, shape[-1])
    for stride, far in _strides(shape, rows):
        yield Arrangement(stride=stride, far_stride=far)
    yield Arrangement(is_transposed=True)


def _strides(shape: tuple[int, ...], rows: int) -> Iterator[tuple[int, int]]:
    """Between rows that may be neighbours: one, an image line, a filter's width.

    A kernel is [..., height, width, in, out]: neighbours along the width are `in` rows apart.
    Behind a Flatten, rows are pixels of a square image with so many channels.
    """
    yield 1, 1
    if len(shape) > 2 and rows > 0:
        inputs = shape[-2]
        yield inputs, inputs * shape[-3]
        yield 1, inputs
        return
    for channels in range(1, min(rows, 4096)):
        side = math.isqrt(rows // channels)
        if side > 1 and side * side * channels == rows:
            yield channels, channels * side


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
    form = stream.number(Field.FORM, stored.form if stored else 0)
    if form == Form.GRID:
        return _code_grid(stream, shape, stored, arrangement)
    if form == Form.PALETTE:
        return _code_palette(stream, shape, dtype, stored, arrangement)
    if form == Form.SPARSE:
        return _code_sparse(stream, shape, dtype, stored, arrangement)
    if form == Form.INTEGERS:
        given = stored.numbers if stored else None
        numbers = _code_numbers(stream, shape, given, arrangement)
        return stored.patterns if stored else patterns_of(_as_type(numbers, dtype))
    if form != Form.PATTERNS:
        raise PackedFileDamaged(f"a tensor has the form {form}; known are 0 to {max(Form)}")
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
        told = stream.number(Field.EDGE, 0 if given == length else given)
        edges.append(min(told, length) or length)
    blocks = tuple(-(-n // edge) for n, edge in zip(shape, edges, strict=True))
    scale = _code_scales(stream, blocks, stored.scale if stored else None)
    numbers = _code_numbers(stream, shape, stored.numbers if stored else None, arrangement)
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
        made = code_patterns(stream, (count, 4), 1, given)
        return made.view("<f4").reshape(shape)
    bits = given.astype(np.int64) if given is not None else np.zeros(count, np.int64)
    used = int(np.bitwise_or.reduce(bits)) & ((1 << MANTISSA) - 1)
    trailing = (used & -used).bit_length() - 1 if used else MANTISSA
    kept = stream.number(Field.MANTISSA_BITS, MANTISSA - trailing)
    if kept > MANTISSA:
        raise PackedFileDamaged(f"a scale has {kept} bits behind the point; it may have 23")
    signs = stream.bits(bits >> 31, stream.number(Field.NEGATIVE, int((bits >> 31).any())) & 1)
    exponents = [_code_exponent(stream, int(value >> MANTISSA) & 255) for value in bits]
    mantissas = stream.bits((bits >> (MANTISSA - kept)) & ((1 << kept) - 1), kept)
    made = (mantissas << (MANTISSA - kept)) | (np.array(exponents, np.int64) << MANTISSA)
    return (made | (signs << 31)).astype("<u4").view("<f4").reshape(shape)


def _code_exponent(stream: Stream, exponent: int) -> int:
    """Near that of 1 / 32, from where most scales are: 0, 1, -1, 2, ... by distance."""
    distance = exponent - 122
    told = stream.number(Field.EXPONENT, 2 * distance - 1 if distance > 0 else -2 * distance)
    return (122 + ((told + 1) // 2 if told % 2 else -told // 2)) & 255


def _code_negative_zeros(
    stream: Stream, numbers: NDArray[np.int32], given: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    count = int(numbers.size - np.count_nonzero(numbers))
    has_some = stream.number(Field.NEGATIVE_ZEROS, int(given.any()) if given is not None else 0)
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
    given_axis = 0 if stored is None or stored.axis is None else stored.axis + 1
    axis = stream.number(Field.PALETTE_AXIS, given_axis) - 1
    if axis >= len(shape):
        raise PackedFileDamaged(f"a palette has its channels on axis {axis} of {len(shape)}")
    channels = shape[axis] if axis >= 0 else 1
    lengths, below = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for k in range(channels):
        given = (int(stored.lengths[k]), int(stored.below[k])) if stored else (0, 0)
        lengths[k] = stream.number(Field.PALETTE_LENGTH, given[0])
        below[k] = stream.number(Field.BELOW_ZERO, given[1])
    total = int(lengths.sum())
    if total > 2 * math.prod(shape) or (below > lengths).any() or lengths.max() > 1 << 30:
        raise PackedFileDamaged(f"a palette has {total} colors for {math.prod(shape)} weights")
    given_colors = stored.colors if stored else None
    colors = code_patterns(stream, (total, dtype.itemsize), 1, given_colors)
    numbers = _code_numbers(stream, shape, stored.numbers if stored else None, arrangement)
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
    mask = _code_numbers(stream, shape, stored.numbers if stored else None, arrangement) != 0
    given = stored.patterns[mask] if stored else None
    found = code_patterns(stream, (int(mask.sum()), dtype.itemsize), 1, given)
    patterns = np.zeros(shape, np.dtype(f"<u{dtype.itemsize}"))
    patterns[mask] = found
    return patterns


def _code_numbers(
    stream: Stream,
    shape: tuple[int, ...],
    given: NDArray[np.int32] | None,
    arrangement: Arrangement,
) -> NDArray[np.int32]:
    """Whole numbers shaped like the tensor, as a matrix [others, last axis] or as bytes."""
    columns = shape[-1] if shape else 1
    if stream.number(Field.CODER, int(arrangement.planes)):
        flat = given.reshape(-1) if given is not None else None
        return code_byte_numbers(stream, math.prod(shape), columns, flat).reshape(shape)
    rows = math.prod(shape) // columns
    is_transposed = bool(stream.number(Field.ORIENTATION, int(arrangement.is_transposed)))
    strides = (1, 1)
    if rows > 1 and not is_transposed:
        near = stream.number(Field.STRIDE, arrangement.stride - 1) + 1
        far = stream.number(Field.FAR_STRIDE, arrangement.far_stride - 1) + 1
        strides = (near, far)
        if max(strides) > rows:
            raise PackedFileDamaged(f"a matrix of {rows} rows has strides of {near} and {far}")
    sheet = _sheet(stream, rows, columns, is_transposed, strides)
    if given is not None:
        matrix = given.reshape(rows, columns)
        sheet.fill(matrix.T if is_transposed else matrix)
    matrix = stream.sheet(sheet)
    made = np.ascontiguousarray(matrix.T if is_transposed else matrix)
    if rows > 1:
        stream.hints = _hints_from(made)
    return made.reshape(shape)


def _sheet(
    stream: Stream, rows: int, columns: int, is_transposed: bool, strides: tuple[int, int]
) -> Sheet:
    """A blank one, with what the last matrix tells: its columns feed these rows, or this bias."""
    last = stream.hints
    of_rows, of_columns = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    if last.size and rows == 1 and columns == last.size:
        of_columns = last
    elif last.size and rows > 1 and rows % last.size == 0:
        of_rows = np.tile(last, rows // last.size)
    if is_transposed:
        return Sheet.blank((columns, rows), strides, np.concatenate([of_columns, of_rows]))
    return Sheet.blank((rows, columns), strides, np.concatenate([of_rows, of_columns]))


def _hints_from(matrix: NDArray[np.int32]) -> IntArray:
    """Of each column: 1 where all is zero, then 2 to 7 for three times as many at each."""
    counts = np.count_nonzero(matrix, axis=0)
    steps = np.array([1, 3, 9, 27, 81, 243])
    return 1 + (counts[:, np.newaxis] >= steps).sum(axis=1)
