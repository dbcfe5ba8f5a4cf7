"""The index of a sparse tensor: which of its values are stored, axis by axis, all in bounds."""

from typing import Any

import numpy as np
import tflite

from app.errors import RejectedUpload
from app.uploads.inspector.shown import shown
from app.uploads.inspector.tflite.reader import Reader

VECTORS: dict[int, tuple[type[Any], str]] = {
    tflite.SparseIndexVector.Int32Vector: (tflite.Int32Vector, "<i4"),
    tflite.SparseIndexVector.Uint16Vector: (tflite.Uint16Vector, "<u2"),
    tflite.SparseIndexVector.Uint8Vector: (tflite.Uint8Vector, "<u1"),
}


def stored_values(reader: Reader, name: str, shape: tuple[int, ...], sparsity: Any) -> int:
    """How many values the index leads to. Axes of blocks come after those of the tensor.

    Raises: RejectedUpload where it leads out of the tensor.
    """
    order = [sparsity.TraversalOrder(i) for i in reader.indices(sparsity.TraversalOrderLength())]
    blocked = [sparsity.BlockMap(i) for i in reader.indices(sparsity.BlockMapLength())]
    axes = len(shape) + len(blocked)
    if sorted(order) != list(range(axes)) or sparsity.DimMetadataLength() != axes:
        raise _out_of_bounds(name)
    if len(set(blocked)) != len(blocked) or not set(blocked) <= set(range(len(shape))):
        raise _out_of_bounds(name)
    parts = {axis: sparsity.DimMetadata(index) for index, axis in enumerate(order)}
    lengths = dict(enumerate(shape))
    for number, axis in enumerate(blocked, len(shape)):
        lengths[number] = parts[number].DenseSize()
        if lengths[number] < 1 or shape[axis] % lengths[number]:
            raise _out_of_bounds(name)
        lengths[axis] = shape[axis] // lengths[number]
    count = 1
    for axis in order:
        count = _count_after(name, parts[axis], lengths[axis], count)
    return count


def _count_after(name: str, part: Any, length: int, count: int) -> int:
    """How many values there are once one more axis is gone along, from how many before."""
    if part.Format() == tflite.DimensionType.DENSE:
        if part.DenseSize() != length:
            raise _out_of_bounds(name)
        return count * length
    segments = _vector(part.ArraySegments(), part.ArraySegmentsType())
    indices = _vector(part.ArrayIndices(), part.ArrayIndicesType())
    is_whole = len(segments) == count + 1 and segments[0] == 0 and segments[-1] == len(indices)
    if not is_whole or (np.diff(segments) < 0).any():
        raise _out_of_bounds(name)
    if len(indices) and not (indices.min() >= 0 and indices.max() < length):
        raise _out_of_bounds(name)
    return len(indices)


def _vector(table: Any, kind: int) -> Any:
    """Its values as 64-bit integers; none where it is of no known kind."""
    if table is None or kind not in VECTORS:
        return np.zeros(0, np.int64)
    vector, dtype = VECTORS[kind][0](), VECTORS[kind][1]
    vector.Init(table.Bytes, table.Pos)
    if vector.ValuesLength() == 0:
        return np.zeros(0, np.int64)
    return vector.ValuesAsNumpy().view(dtype).astype(np.int64)


def _out_of_bounds(name: str) -> RejectedUpload:
    return RejectedUpload(
        f"the index of the sparse tensor {shown(name)} leads out of it",
        hint="Convert the model again; check that an interpreter loads it.",
    )
