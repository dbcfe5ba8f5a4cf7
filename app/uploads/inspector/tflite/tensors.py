"""The tensors of a TensorFlow Lite model: what they declare against what the file stores."""

import math
from typing import Any, NamedTuple

import numpy as np
import tflite

from app.errors import RejectedUpload
from app.uploads.inspector.shown import shown
from app.uploads.inspector.tflite.reader import Reader
from app.uploads.inspector.tflite.sparsity import stored_values

# Of one tensor, and of all that are computed: 4 GiB and 16 GiB in float32.
MAX_VALUES = 2**30
MAX_ALL_VALUES = 2**32
MAX_AXES = 16
# 1 is how the writer says "not yet placed".
UNPLACED = 1
NAME = 3
TYPES: dict[int, str] = {
    code: name.lower() for name, code in vars(tflite.TensorType).items() if name.isupper()
}
TYPE_BITS = {
    **dict.fromkeys(("bool", "int8", "uint8"), 8),
    "int4": 4,
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 16),
    **dict.fromkeys(("float32", "int32", "uint32"), 32),
    **dict.fromkeys(("float64", "int64", "uint64"), 64),
}
# Interpreters divide by scales, and by products of them.
LEAST_SCALE = np.finfo(np.float32).tiny
ZERO_POINTS = {
    "int4": (-8, 7),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
}
FLOATS: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}


class Tensor(NamedTuple):
    """`signature` has null where a length is free; `is_constant`: the file has its values.

    `is_variable`: an interpreter keeps its values from one run to the next, zeros at first.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    signature: tuple[int | None, ...]
    buffer: int
    is_constant: bool
    is_variable: bool
    is_scaled: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_weight(self) -> bool:
        """Whether it holds parameters: constant real numbers, or integers with a scale."""
        return self.is_constant and ("float" in self.type or self.is_scaled)


class TensorReader:
    """Reads the tensors of all subgraphs, which may share their buffers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._finite: set[tuple[int, str, int]] = set()
        self._computed_values = 0

    def read(self, table: Any) -> Tensor:
        """Raises: RejectedUpload."""
        model = self._reader.model
        name = self._reader.name(table, NAME)
        shape, free = _shapes(self._reader, table, name)
        if not 0 <= table.Buffer() < model.BuffersLength():
            raise RejectedUpload(
                f"tensor {shown(name)} is kept in buffer {table.Buffer()}: there is none"
            )
        buffer = model.Buffers(table.Buffer())
        if table.Type() not in TYPES:
            raise RejectedUpload(f"tensor {shown(name)} is of the unknown type {table.Type()}")
        quantization = table.Quantization()
        tensor = Tensor(
            name=name,
            type=TYPES[table.Type()],
            shape=shape,
            signature=tuple(None if axis < 0 else axis for axis in (free or shape)),
            buffer=table.Buffer(),
            is_constant=_stored_bytes(buffer, self._reader.file_bytes) > 0,
            is_variable=bool(table.IsVariable()),
            is_scaled=quantization is not None and quantization.ScaleLength() > 0,
        )
        if tensor.is_scaled:
            _check_scales(self._reader, tensor, quantization)
        if tensor.is_constant:
            self._check_values(tensor, table.Sparsity(), buffer)
        else:
            self._count(tensor)
        return tensor

    def _count(self, tensor: Tensor) -> None:
        self._computed_values += tensor.size
        if self._computed_values > MAX_ALL_VALUES:
            raise RejectedUpload(
                f"up to tensor {shown(tensor.name)}, the model computes {self._computed_values} "
                f"values; at most {MAX_ALL_VALUES} are taken"
            )

    def _check_values(self, tensor: Tensor, sparsity: Any, buffer: Any) -> None:
        bits = TYPE_BITS.get(tensor.type)
        if bits is None:
            return
        size = tensor.size
        if sparsity is not None:
            size = stored_values(self._reader, tensor.name, tensor.shape, sparsity)
        wanted, stored = -(-size * bits // 8), _stored_bytes(buffer, self._reader.file_bytes)
        if stored < wanted:
            raise RejectedUpload(
                f"tensor {shown(tensor.name)} of shape {tensor.shape} needs {wanted} bytes; "
                f"{stored} are stored"
            )
        key = (tensor.buffer, tensor.type, wanted)
        if tensor.type in FLOATS and key not in self._finite:
            self._finite.add(key)
            _check_finite(tensor, self._values(buffer, wanted, FLOATS[tensor.type]))

    def _values(self, buffer: Any, wanted: int, dtype: np.dtype[Any]) -> Any:
        if buffer.Offset() > UNPLACED:
            count = wanted // dtype.itemsize
            return np.frombuffer(self._reader.content, dtype, count, buffer.Offset())
        return buffer.DataAsNumpy()[:wanted].view(dtype)


def _shapes(reader: Reader, table: Any, name: str) -> tuple[tuple[int, ...], list[int]]:
    """The lengths of its axes, and the same with -1 where they are free, if any is."""
    ranks = (table.ShapeLength(), table.ShapeSignatureLength())
    if max(ranks) > MAX_AXES:
        raise RejectedUpload(f"tensor {shown(name)} has {max(ranks)} axes")
    shape = tuple(int(table.Shape(i)) for i in reader.indices(ranks[0]))
    free = [int(table.ShapeSignature(i)) for i in reader.indices(ranks[1])]
    if any(axis < 0 for axis in shape) or math.prod(shape) > MAX_VALUES:
        raise RejectedUpload(f"tensor {shown(name)} has the shape {shape}")
    if free and len(free) != len(shape):
        raise RejectedUpload(f"tensor {shown(name)} has the shapes {shape} and {tuple(free)}")
    return shape, free


def _stored_bytes(buffer: Any, file_bytes: int) -> int:
    """Values lie in the buffer, or beyond the flatbuffer where the file is larger than 2 GB."""
    if buffer.Offset() > UNPLACED:
        if buffer.Offset() + buffer.Size() > file_bytes:
            raise RejectedUpload("a buffer reaches beyond the end of the file")
        return int(buffer.Size())
    return int(buffer.DataLength())


def _check_scales(reader: Reader, tensor: Tensor, quantization: Any) -> None:
    """One scale, or one for each channel: a kernel reads so many, whether they are there or not."""
    scales, zeros = quantization.ScaleLength(), quantization.ZeroPointLength()
    axis = quantization.QuantizedDimension()
    channels = tensor.shape[axis] if 0 <= axis < len(tensor.shape) else None
    if scales not in (1, channels) or zeros not in (0, scales):
        raise RejectedUpload(
            f"tensor {shown(tensor.name)} of shape {tensor.shape} has {scales} scales and {zeros} "
            f"zero points along axis {axis}",
            hint="Convert the model again; check that an interpreter loads it.",
        )
    reader.indices(scales)
    if not np.isfinite(quantization.ScaleAsNumpy()).all():
        raise RejectedUpload(f"scales of tensor {shown(tensor.name)} are NaN or infinite")
    if (quantization.ScaleAsNumpy() < LEAST_SCALE).any():
        raise RejectedUpload(
            f"scales of tensor {shown(tensor.name)} are zero or less, or nearly so"
        )
    lowest, highest = ZERO_POINTS.get(tensor.type, ZERO_POINTS["int32"])
    points = quantization.ZeroPointAsNumpy() if zeros else np.zeros(1)
    if not (points.min() >= lowest and points.max() <= highest):
        raise RejectedUpload(
            f"a zero point of tensor {shown(tensor.name)} is no value of type {tensor.type}"
        )


def _check_finite(tensor: Tensor, values: Any) -> None:
    if bad := int(values.size - np.isfinite(values).sum()):
        raise RejectedUpload(
            f"{bad} of {tensor.size} values of {shown(tensor.name)} are NaN or infinite",
            hint="Training diverged before the model was converted; upload an earlier state.",
        )
