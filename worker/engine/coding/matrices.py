"""Whole numbers shaped like a tensor, arranged so that what is alike lies together."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.coder import IntArray
from worker.engine.coding.patterns import code_byte_numbers
from worker.engine.coding.sheets import Sheet
from worker.engine.coding.stream import Field, Stream

# Up to this size every arrangement is tried; above, what is likely is taken.
SMALL = 1 << 18
# A larger tensor with fewer non-zeros than this is worth the slower coder.
DENSE = 0.35


@dataclass(frozen=True)
class Arrangement:
    """How whole numbers are put through the coder. `planes`: as bytes, without mixing."""

    planes: bool = False
    is_transposed: bool = False
    stride: int = 1
    far_stride: int = 1


def arrangements_of(numbers: NDArray[np.int32] | None) -> Iterator[Arrangement]:
    """What may suit the numbers of a tensor; one that matters to nothing where it has none."""
    if numbers is None:
        yield Arrangement()
        return
    shape, size = numbers.shape, numbers.size
    if size > SMALL:
        is_dense = int(np.count_nonzero(numbers)) > DENSE * size
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


def code_numbers(
    stream: Stream,
    shape: tuple[int, ...],
    given: NDArray[np.int32] | None,
    arrangement: Arrangement,
) -> NDArray[np.int32]:
    """Whole numbers shaped like the tensor, as a matrix [others, last axis] or as bytes."""
    columns = shape[-1] if shape else 1
    if stream.number(Field.CODER, int(arrangement.planes), 1):
        flat = given.reshape(-1) if given is not None else None
        return code_byte_numbers(stream, math.prod(shape), columns, flat).reshape(shape)
    rows = math.prod(shape) // columns
    is_transposed = bool(stream.number(Field.ORIENTATION, int(arrangement.is_transposed), 1))
    strides = (1, 1)
    if rows > 1 and not is_transposed:
        near = stream.number(Field.STRIDE, arrangement.stride - 1, rows - 1) + 1
        far = stream.number(Field.FAR_STRIDE, arrangement.far_stride - 1, rows - 1) + 1
        strides = (near, far)
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
