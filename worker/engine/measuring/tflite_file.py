"""What a tflite file holds, read from its bytes: tensors, constants, operators, signatures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from worker.engine.measuring.tflite_constants import (
    Sparsity,
    dense,
    read_sparsity,
    unpacked_int4,
)

FloatArray = npt.NDArray[np.float32]

DTYPES: dict[int, npt.DTypeLike] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.UINT16: np.uint16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.UINT32: np.uint32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.UINT64: np.uint64,
    schema.TensorType.BOOL: np.bool_,
}
OPTIONS: dict[str, type[Any]] = {
    "CONV_2D": schema.Conv2DOptions,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptions,
    "FULLY_CONNECTED": schema.FullyConnectedOptions,
}
# They convert between floats and integers, or read a tensor's shape and not its values.
NO_ARITHMETIC = frozenset({"QUANTIZE", "DEQUANTIZE", "SHAPE"})
FLOAT_TYPES = frozenset({"FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16"})
BITS = {"INT2": 2, "INT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "FLOAT16": 16, "BFLOAT16": 16}


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor. `scale` and `zero_point` have one value, or one a channel along `axis`.

    `real = scale * (quantized - zero_point)`. `raw` is empty unless the tensor is a constant. In
    `open_shape` an axis of any length is null; `shape` has 1 there.
    """

    name: str
    shape: tuple[int, ...]
    open_shape: tuple[int | None, ...]
    type_name: str
    scale: FloatArray
    zero_point: npt.NDArray[np.int64]
    axis: int
    raw: npt.NDArray[np.uint8]
    sparsity: Sparsity | None = None

    @property
    def is_float(self) -> bool:
        return self.type_name in FLOAT_TYPES

    @property
    def is_constant(self) -> bool:
        return self.raw.size > 0

    @property
    def is_weight(self) -> bool:
        """Whether it holds parameters: constant real numbers, or integers with a scale."""
        return self.is_constant and (self.is_float or self.scale.size > 0)

    @property
    def bits(self) -> int:
        return BITS.get(self.type_name, 32)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def values(self) -> FloatArray:
        """The constant as real numbers, [*shape]; empty where its type cannot be unpacked."""
        stored = self._stored()
        if stored is None:
            return np.empty(0, np.float32)
        if self.scale.size == 0:
            return stored.astype(np.float32)
        along = [1] * stored.ndim
        if self.scale.size > 1:
            along[self.axis] = self.scale.size
        zero_point = self.zero_point.reshape(along) if self.zero_point.size else 0
        return (self.scale.reshape(along) * (stored.astype(np.float32) - zero_point)).astype(
            np.float32
        )

    def _stored(self) -> npt.NDArray[Any] | None:
        if self.type_name == "INT4":
            return unpacked_int4(self.raw, self.size).reshape(self.shape)
        dtype = DTYPES.get(getattr(schema.TensorType, self.type_name))
        if dtype is None:
            return None
        if self.sparsity is not None:
            return self._dense(self.raw.view(dtype), self.sparsity)
        if self.raw.nbytes != self.size * np.dtype(dtype).itemsize:
            return None
        return self.raw.view(dtype).reshape(self.shape)

    def _dense(self, values: npt.NDArray[Any], sparsity: Sparsity) -> npt.NDArray[Any] | None:
        """Null where an uploaded file's levels lead nowhere."""
        try:
            return dense(values, self.shape, sparsity)
        except (IndexError, ValueError):
            return None


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of a subgraph; an optional input that is absent is left out.

    `has_fused_activation` is known for fully-connected and convolution operators.
    """

    name: str
    has_fused_activation: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def constants(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.inputs if tensor.is_constant)


@dataclass(frozen=True, eq=False)
class Port:
    """A tensor that goes in or comes out, by the signature's name for it, else by its own."""

    name: str
    tensor: Tensor


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """A file, read. `operators` are those of all subgraphs; inputs and outputs are the main's."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def weights(self) -> Iterator[Tensor]:
        """Constants that hold parameters."""
        return (tensor for tensor in self.tensors if tensor.is_weight)

    def weights_of(self, operator: Operator) -> tuple[Tensor, ...]:
        """The parameters an operator uses, also where they are widened from float16 first."""
        if operator.name == "DEQUANTIZE":
            return ()
        used = (self._stored_as.get(id(tensor), tensor) for tensor in operator.inputs)
        return tuple(tensor for tensor in used if tensor.is_weight)

    @cached_property
    def _stored_as(self) -> dict[int, Tensor]:
        return {
            id(operator.outputs[0]): operator.inputs[0]
            for operator in self.operators
            if operator.name == "DEQUANTIZE" and operator.inputs[0].is_weight
        }

    @property
    def is_quantized(self) -> bool:
        """Whether weights or activations are stored in fewer bits than float32."""
        return any(
            tensor.scale.size > 0 or tensor.type_name in ("FLOAT16", "BFLOAT16")
            for tensor in self.tensors
        )

    @property
    def float_operators(self) -> tuple[Operator, ...]:
        """Operators that compute on floats."""
        return tuple(
            operator
            for operator in self.operators
            if operator.name not in NO_ARITHMETIC
            and any(tensor.is_float for tensor in (*operator.inputs, *operator.outputs))
        )


def read_tflite(content: bytes) -> TfliteFile:
    """Read a file that was written here or accepted at the door; constants are views of it."""
    model = schema.Model.GetRootAs(content, 0)
    tensors: list[Tensor] = []
    operators: list[Operator] = []
    main: list[Tensor] = []
    codes = [_operator_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    for index in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(index)
        own = [
            _tensor(content, model, subgraph.Tensors(i)) for i in range(subgraph.TensorsLength())
        ]
        operators += [
            _operator(subgraph.Operators(i), codes, own) for i in range(subgraph.OperatorsLength())
        ]
        tensors += own
        main = main or own
    first, signature = model.Subgraphs(0), _signature(model)
    given = _names(signature.InputsLength(), signature.Inputs) if signature else {}
    returned = _names(signature.OutputsLength(), signature.Outputs) if signature else {}
    inputs = [first.Inputs(i) for i in range(first.InputsLength())]
    outputs = [first.Outputs(i) for i in range(first.OutputsLength())]
    return TfliteFile(
        tensors=tuple(tensors),
        operators=tuple(operators),
        inputs=tuple(Port(given.get(i, main[i].name), main[i]) for i in inputs),
        outputs=tuple(Port(returned.get(i, main[i].name), main[i]) for i in outputs),
    )


def _signature(model: Any) -> Any:
    """The main subgraph's first: it keeps the names that tensors lose in conversion."""
    signatures = (model.SignatureDefs(i) for i in range(model.SignatureDefsLength()))
    return next((one for one in signatures if one.SubgraphIndex() == 0), None)


def _names(count: int, entry: Callable[[int], Any]) -> dict[int, str]:
    """Tensor index -> the signature's name."""
    return {
        entry(i).TensorIndex(): (entry(i).Name() or b"").decode(errors="replace")
        for i in range(count)
    }


def _tensor(content: bytes, model: Any, tensor: Any) -> Tensor:
    quantization = tensor.Quantization()
    has_scale = quantization is not None and quantization.ScaleLength() > 0
    shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    signature = tuple(int(tensor.ShapeSignature(i)) for i in range(tensor.ShapeSignatureLength()))
    return Tensor(
        name=(tensor.Name() or b"").decode(errors="replace"),
        shape=shape,
        open_shape=tuple(None if length < 0 else length for length in signature or shape),
        type_name=_names_by_code(schema.TensorType)[tensor.Type()],
        scale=quantization.ScaleAsNumpy() if has_scale else np.empty(0, np.float32),
        zero_point=_zero_points(quantization) if has_scale else np.empty(0, np.int64),
        axis=quantization.QuantizedDimension() if has_scale else 0,
        raw=_raw(content, model.Buffers(tensor.Buffer())),
        sparsity=read_sparsity(tensor.Sparsity()),
    )


def _raw(content: bytes, buffer: Any) -> npt.NDArray[np.uint8]:
    """The buffer's bytes; an offset above 1 says that they follow the flatbuffer."""
    if buffer.Offset() > 1:
        return np.frombuffer(content, np.uint8, buffer.Size(), buffer.Offset())
    return buffer.DataAsNumpy() if buffer.DataLength() > 0 else np.empty(0, np.uint8)


def _zero_points(quantization: Any) -> npt.NDArray[np.int64]:
    if quantization.ZeroPointLength() == 0:
        return np.empty(0, np.int64)
    return np.asarray(quantization.ZeroPointAsNumpy(), np.int64)


def _operator(operator: Any, codes: list[str], tensors: list[Tensor]) -> Operator:
    inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
    return Operator(
        name=codes[operator.OpcodeIndex()],
        has_fused_activation=_has_fused_activation(operator, codes[operator.OpcodeIndex()]),
        inputs=tuple(tensors[i] for i in inputs if i >= 0),
        outputs=tuple(tensors[operator.Outputs(i)] for i in range(operator.OutputsLength())),
    )


def _has_fused_activation(operator: Any, name: str) -> bool:
    table = operator.BuiltinOptions()
    if name not in OPTIONS or table is None:
        return False
    options = OPTIONS[name]()
    options.Init(table.Bytes, table.Pos)
    return bool(options.FusedActivationFunction() != schema.ActivationFunctionType.NONE)


def _operator_name(code: Any) -> str:
    # Codes above 127 are in the newer field; older files fill only the deprecated one.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    return _names_by_code(schema.BuiltinOperator).get(number, f"OPERATOR_{number}")


@cache
def _names_by_code(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}
