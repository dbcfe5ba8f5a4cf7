"""Puts the integers of quantized and clustered weights into tflite files, in place of others.

A converter quantizes each channel anew: what lay on 16 shared values lies on up to 127 a channel
afterwards, and the entropy that a training paid for is gone. Scales and integers of a converted
file are therefore rewritten; operators, shapes and activations stay.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers
import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from worker.engine.quantizing.int8_levels import Int8Levels, as_int8
from worker.engine.quantizing.levels import FloatArray, LevelsByName
from worker.engine.surgery.weights import named_weights

IDENTIFIER = b"TFL3"
# An integer tells where a weight was within half a step; float32 arithmetic adds a little.
HALF_A_STEP = 0.505
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Stored:
    """A file and the names of weights whose integers it holds; `lost` are those it cannot hold.

    Weights that the file has as floats are in neither: it holds their values anyway.
    """

    content: bytes
    stored: tuple[str, ...]
    lost: tuple[str, ...]


def with_stored_levels(content: bytes, model: keras.Model, levels: LevelsByName) -> Stored:
    """The tflite file, its int8 kernels being the integers of the levels of `model`'s weights.

    A scale for each channel takes up what the converter multiplied channels by, as when it folds a
    normalization into a kernel. Biases are rounded to the new scales; where that
    moves one visibly, the converter's kernel stays.
    """
    weights = named_weights(model)
    wanted = {name: weights[name].numpy() for name in levels if len(weights[name].shape) > 1}
    if not wanted:
        return Stored(content, (), ())
    file = _File(content)
    stored: set[str] = set()
    lost: set[str] = set()
    for kernel in file.kernels():
        found = _best(kernel, wanted)
        if found is None:
            continue
        numbers = as_int8(levels[found.name], wanted[found.name])
        is_stored = numbers is not None and file.store(kernel, found, numbers)
        (stored if is_stored else lost).add(found.name)
    return Stored(file.packed() if stored else content, tuple(stored), tuple(lost - stored))


@dataclass(frozen=True, eq=False)
class _Kernel:
    """An int8 constant with a scale: real values [*shape], scale [channels] or [1] along `axis`."""

    index: int
    values: FloatArray
    scale: FloatArray
    axis: int

    def along(self, entries: NDArray[Any]) -> NDArray[Any]:
        """Entries, one a channel or one in all, so that they spread over the values."""
        shape = [1] * self.values.ndim
        if entries.size > 1:
            shape[self.axis] = entries.size
        return entries.reshape(shape)


@dataclass(frozen=True, eq=False)
class _Match:
    """A weight of the model that a kernel holds, laid out as the kernel is.

    factor: what each channel, or everything, was multiplied by; `distance` in steps of the kernel.
    """

    name: str
    layout: "_Layout"
    factor: FloatArray
    distance: float


@dataclass(frozen=True)
class _Layout:
    """How a Keras kernel lies in a file: one axis goes first, or none; then it is reshaped."""

    moved: int | None
    shape: tuple[int, ...]

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        moved = array if self.moved is None else np.moveaxis(array, self.moved, 0)
        return moved.reshape(self.shape)


def _best(kernel: _Kernel, weights: Mapping[str, FloatArray]) -> _Match | None:
    matches = (
        match
        for name, weight in weights.items()
        for layout in _layouts(weight.shape, kernel.values.shape)
        if (match := _matched(kernel, name, weight, layout))
    )
    return min(matches, key=lambda match: match.distance, default=None)


def _layouts(given: tuple[int, ...], stored: tuple[int, ...]) -> Iterator[_Layout]:
    """How a Keras kernel may lie in a constant of this shape.

    Dense [in, out] and convolutions [..., in, out] are stored output first, transposed ones
    [..., out, in] too; depthwise [h, w, in, multiplier] as [1, h, w, in x multiplier].
    """
    wanted = [length for length in stored if length > 1]
    merged = (*given[:-2], given[-2] * given[-1])
    for moved in (-1, -2, None):
        lengths = given if moved is None else (given[moved], *np.delete(given, moved))
        plain = [int(length) for length in lengths if length > 1]
        if plain == wanted or (moved is None and [n for n in merged if n > 1] == wanted):
            yield _Layout(moved, stored)


def _matched(kernel: _Kernel, name: str, weight: FloatArray, layout: _Layout) -> _Match | None:
    """Whether the kernel is the weight, rounded, up to a factor of each channel."""
    laid = layout(weight)
    axes = tuple(axis for axis in range(laid.ndim) if axis != kernel.axis)
    ones = np.ones(kernel.scale.size, np.float32)
    # Converters lay the largest weight of a channel on 127, so its scale tells the factor exactly.
    largest = np.abs(laid).max(axes)
    size = np.divide(kernel.scale * 127, largest, out=ones.copy(), where=largest > 0)
    folded = (np.where((laid * kernel.values).sum(axes) < 0, -size, size)).astype(np.float32)
    for factor in (ones, folded) if kernel.scale.size > 1 else (ones,):
        off = np.abs(kernel.values - laid * kernel.along(factor)) / kernel.along(kernel.scale)
        if float(off.max()) <= HALF_A_STEP:
            return _Match(name, layout, factor, float(off.mean()))
    return None


class _File:
    """A tflite file that is taken apart, changed and packed again."""

    def __init__(self, content: bytes) -> None:
        self._model = schema.ModelT.InitFromPackedBuf(content, 0)
        # One subgraph in what is written here; loops over time, which have more, are not integers.
        self._graph = self._model.subgraphs[0]
        self._users = Counter(tensor.buffer for tensor in self._graph.tensors)

    def kernels(self) -> Iterator[_Kernel]:
        for index, tensor in enumerate(self._graph.tensors):
            stored = self._model.buffers[tensor.buffer].data
            scale = _scale(tensor)
            is_kernel = tensor.type == schema.TensorType.INT8 and len(tensor.shape) > 1
            if not is_kernel or stored is None or not scale.size:
                continue
            shape, axis = tuple(tensor.shape), tensor.quantization.quantizedDimension
            numbers = np.asarray(stored, np.uint8).view(np.int8)
            if numbers.size != np.prod(shape):
                continue
            along = [1] * len(shape)
            along[axis] = scale.size
            values = numbers.reshape(shape).astype(np.float32) * scale.reshape(along)
            yield _Kernel(index, values, scale, axis)

    def store(self, kernel: _Kernel, match: _Match, levels: Int8Levels) -> bool:
        """Put the integers into a kernel; false where its scales cannot express them."""
        laid = match.layout(np.broadcast_to(levels.scale, levels.numbers.shape))
        scale = _by_channel(laid, kernel)
        if scale is None:
            return False
        scale = (scale * match.factor).astype(np.float32)
        sign = np.where(scale < 0, -1, 1).astype(np.int8)
        numbers = match.layout(levels.numbers) * kernel.along(sign)
        # Zeros have any scale. Biases are multiples of it, so it stays the one that suited them.
        is_zero = (_channels(numbers, kernel) == 0).all(axis=1)
        new_scale = np.where(is_zero, kernel.scale, np.abs(scale)).astype(np.float32)
        biases = list(self._biases_of(kernel, new_scale))
        if any(bias is None for bias in biases):
            return False
        self._write(self._graph.tensors[kernel.index], numbers.astype(np.int8), new_scale)
        for bias in biases:
            if bias is not None:
                self._write(bias.tensor, bias.numbers, bias.scale)
        return True

    def packed(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _biases_of(self, kernel: _Kernel, scale: FloatArray) -> Iterator["_Bias | None"]:
        """The int32 biases that are added to the kernel's products; null for one that does not fit.

        Their scale is that of the input times that of the kernel. Too small a one overflows, too
        large a one moves biases by more than what the operator rounds anyway.
        """
        for operator in self._graph.operators:
            inputs = [index for index in operator.inputs if index >= 0]
            if kernel.index not in inputs:
                continue
            for index in inputs:
                tensor = self._graph.tensors[index]
                if tensor.type != schema.TensorType.INT32 or not _scale(tensor).size:
                    continue
                numbers = np.asarray(self._model.buffers[tensor.buffer].data, np.uint8)
                values = numbers.view(np.int32) * _scale(tensor).astype(np.float64)
                into = _scale(tensor).astype(np.float64) / kernel.scale * scale
                moved = np.rint(values / into)
                is_held = INT32.min <= moved.min() and moved.max() <= INT32.max
                step = _scale(self._graph.tensors[operator.outputs[0]]).max(initial=0)
                fits = is_held and np.abs(moved * into - values).max() <= step / 2
                yield _Bias(tensor, moved.astype(np.int32), into) if fits else None

    def _write(self, tensor: Any, numbers: NDArray[Any], scale: NDArray[Any]) -> None:
        """Into a buffer of its own: files keep equal constants once, and these may differ now."""
        if self._users[tensor.buffer] > 1:
            self._users[tensor.buffer] -= 1
            self._model.buffers.append(schema.BufferT())
            tensor.buffer = len(self._model.buffers) - 1
        self._model.buffers[tensor.buffer].data = (
            np.ascontiguousarray(numbers).view(np.uint8).ravel()
        )
        tensor.quantization.scale = scale.astype(np.float32)
        tensor.quantization.min = tensor.quantization.max = None


@dataclass(frozen=True, eq=False)
class _Bias:
    tensor: Any
    numbers: NDArray[np.int32]
    scale: NDArray[np.float64]


def _scale(tensor: Any) -> FloatArray:
    quantization = tensor.quantization
    empty = quantization is None or quantization.scale is None
    return np.asarray([] if empty else quantization.scale, np.float32)


def _channels(entries: NDArray[Any], kernel: _Kernel) -> NDArray[Any]:
    """Entries laid out as the kernel, a row for each of its scales."""
    return np.moveaxis(entries, kernel.axis, 0).reshape(kernel.scale.size, -1)


def _by_channel(scale: FloatArray, kernel: _Kernel) -> FloatArray | None:
    """The scale of each channel of a kernel; null where weights of one have several."""
    by_channel = _channels(scale, kernel)
    first = by_channel[:, 0]
    return first if (by_channel == first[:, np.newaxis]).all() else None
