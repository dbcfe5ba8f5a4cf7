"""The kernels of an ONNX file, as a tflite file's are read: by value, with their scales."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from worker.engine.measuring.tflite_file import Tensor

Array = npt.NDArray[Any]

# To [out, height, width, in], the order that kernels of tflite files have.
CHANNELS_LAST = {"Conv": (0, 1), "ConvTranspose": (1, 0)}


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A file, read. `readers` are the nodes that use a constant, through its dequantization too."""

    model: onnx.ModelProto

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """Constants of at least two axes, called as the file calls them."""
        constants = {one.name: one for one in self.model.graph.initializer}
        return tuple(
            _tensor(name, numpy_helper.to_array(constant), self.readers(name), self._dequantized)
            for name, constant in constants.items()
            if len(constant.dims) > 1
        )

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that compute with a constant."""
        direct = self._readers.get(name, [])
        if name not in self._dequantized:
            return direct
        return self._readers.get(self._dequantized[name].real, [])

    @cached_property
    def _readers(self) -> dict[str, list[onnx.NodeProto]]:
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def _dequantized(self) -> dict[str, "_Scaled"]:
        """Constant -> how DequantizeLinear makes real values of it."""
        constants = {one.name: one for one in self.model.graph.initializer}
        return {
            node.input[0]: _Scaled(
                real=node.output[0],
                scale=numpy_helper.to_array(constants[node.input[1]]).reshape(-1),
                axis=next((one.i for one in node.attribute if one.name == "axis"), 1),
            )
            for node in self.model.graph.node
            if node.op_type == "DequantizeLinear"
            and node.input[0] in constants
            and node.input[1] in constants
        }


@dataclass(frozen=True, eq=False)
class _Scaled:
    real: str
    scale: npt.NDArray[np.float32]
    axis: int


def read_onnx(content: bytes) -> OnnxFile:
    """Read a file that was written here."""
    return OnnxFile(onnx.ModelProto.FromString(content))


def quantized_operators(file: OnnxFile) -> Iterator[tuple[str, bool]]:
    """The name of every operator with a kernel, and whether that is stored as integers."""
    for tensor in file.weights:
        for node in file.readers(tensor.name):
            yield node.op_type, tensor.scale.size > 0


def _tensor(
    name: str, values: Array, readers: list[onnx.NodeProto], scaled: dict[str, _Scaled]
) -> Tensor:
    kinds = {node.op_type for node in readers}
    axis = scaled[name].axis if name in scaled else 0
    for kind in kinds & CHANNELS_LAST.keys():
        out, given = CHANNELS_LAST[kind]
        values = np.moveaxis(values, (out, given), (0, -1))
        axis = 0
    scale = scaled[name].scale if name in scaled else np.empty(0, np.float32)
    return Tensor(
        name=name,
        shape=values.shape,
        open_shape=values.shape,
        type_name=str(values.dtype).upper(),
        scale=scale,
        # Kernels are quantized symmetrically.
        zero_point=np.zeros(scale.shape, np.int64),
        axis=axis,
        raw=np.ascontiguousarray(values).reshape(-1).view(np.uint8),
    )
