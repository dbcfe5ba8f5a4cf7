"""The flatbuffer of a TensorFlow Lite model as plain values, every index and size checked."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tflite

from app.errors import RejectedUpload
from app.uploads.names import is_showable

MAX_VALUES = 2**31
MAX_ITEMS = 100_000
MAX_NAME_LENGTH = 1_000
OPTIONAL = -1
TYPES: dict[int, str] = {
    code: name.lower() for name, code in vars(tflite.TensorType).items() if name.isupper()
}
OPERATORS: dict[int, str] = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()
}
TYPE_BITS = {
    "bool": 8,
    "int4": 4,
    "int8": 8,
    "uint8": 8,
    "float16": 16,
    "bfloat16": 16,
    "int16": 16,
    "uint16": 16,
    "float32": 32,
    "int32": 32,
    "uint32": 32,
    "float64": 64,
    "int64": 64,
    "uint64": 64,
}
FLOATS = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4"), "float64": np.dtype("<f8")}
# Operators that run other subgraphs, by the options that name them.
CALLS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "CALL_ONCE": (tflite.CallOnceOptions, ("InitSubgraphIndex",)),
    "IF": (tflite.IfOptions, ("ThenSubgraphIndex", "ElseSubgraphIndex")),
    "WHILE": (tflite.WhileOptions, ("CondSubgraphIndex", "BodySubgraphIndex")),
}
FUSED: dict[str, type[Any]] = {
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "FULLY_CONNECTED": tflite.FullyConnectedOptions,
}


class Tensor(NamedTuple):
    """`signature` has null where a length is free; `is_constant`: the file has its values."""

    name: str
    type: str
    shape: tuple[int, ...]
    signature: tuple[int | None, ...]
    buffer: int
    is_constant: bool
    is_scaled: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_weight(self) -> bool:
        """Whether it holds parameters: constant real numbers, or integers with a scale."""
        return self.is_constant and ("float" in self.type or self.is_scaled)


class Operator(NamedTuple):
    """One operator; its inputs may be -1 where an optional one is left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    fused_activation: int


class Port(NamedTuple):
    """A tensor that goes in or comes out, and what the caller knows it by."""

    name: str
    tensor: int


class Subgraph(NamedTuple):
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def read_subgraphs(model: Any, file_bytes: int) -> tuple[Subgraph, ...]:
    """All of them, the main one first.

    Raises: RejectedUpload for what is wrong in itself; whatever indexing raises for broken offsets.
    """
    codes = [_operator_name(model.OperatorCodes(i)) for i in _indices(model.OperatorCodesLength())]
    subgraphs = tuple(
        _subgraph(model, index, codes, file_bytes) for index in _indices(model.SubgraphsLength())
    )
    if not subgraphs or not subgraphs[0].inputs or not subgraphs[0].outputs:
        raise RejectedUpload("the model has no inputs or no outputs")
    return subgraphs


def _operator_name(code: Any) -> str:
    # Files before schema 3a hold the code in a byte, later ones in both fields.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = OPERATORS.get(number)
    if name is None:
        raise RejectedUpload(f"operator code {number} is not one of TensorFlow Lite")
    if name in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"):
        custom = (code.CustomCode() or b"").decode("utf-8", "replace")
        raise RejectedUpload(
            f"the model uses the custom operator {custom[:80]!r}",
            hint="Convert it with built-in TensorFlow Lite operators only.",
        )
    return name


def _subgraph(model: Any, index: int, codes: list[str], file_bytes: int) -> Subgraph:
    graph = model.Subgraphs(index)
    tensors = tuple(
        _tensor(model, graph.Tensors(i), file_bytes) for i in _indices(graph.TensorsLength())
    )
    operators = tuple(
        _operator(graph.Operators(i), codes, index, model.SubgraphsLength(), len(tensors))
        for i in _indices(graph.OperatorsLength())
    )
    signature = _signature(model, index)
    inputs = _tensor_indices(graph.InputsLength(), graph.Inputs, len(tensors))
    outputs = _tensor_indices(graph.OutputsLength(), graph.Outputs, len(tensors))
    given = _signature_names(signature.InputsLength(), signature.Inputs) if signature else {}
    returned = _signature_names(signature.OutputsLength(), signature.Outputs) if signature else {}
    return Subgraph(
        tensors=tensors,
        operators=operators,
        inputs=tuple(Port(given.get(at, tensors[at].name), at) for at in inputs),
        outputs=tuple(Port(returned.get(at, tensors[at].name), at) for at in outputs),
    )


def _signature(model: Any, subgraph: int) -> Any:
    """The first signature of a subgraph: it keeps the names that tensors lose in conversion."""
    signatures = (model.SignatureDefs(i) for i in _indices(model.SignatureDefsLength()))
    return next((each for each in signatures if each.SubgraphIndex() == subgraph), None)


def _signature_names(count: int, at: Any) -> dict[int, str]:
    """The name of each tensor."""
    return {at(i).TensorIndex(): _checked_name(at(i).Name()) for i in _indices(count)}


def _checked_name(raw: bytes | None) -> str:
    name = (raw or b"").decode("utf-8", "replace")
    if not is_showable(name) or len(name) > MAX_NAME_LENGTH:
        raise RejectedUpload(f"a tensor is called {name[:80]!r}")
    return name


def _tensor(model: Any, tensor: Any, file_bytes: int) -> Tensor:
    name = _checked_name(tensor.Name())
    kind = TYPES.get(tensor.Type(), "unknown")
    shape = tuple(int(tensor.Shape(i)) for i in _indices(tensor.ShapeLength()))
    free = [int(tensor.ShapeSignature(i)) for i in _indices(tensor.ShapeSignatureLength())]
    if any(axis < 0 for axis in shape) or math.prod(shape) > MAX_VALUES:
        raise RejectedUpload(f"tensor {name!r} has the shape {shape}")
    if not 0 <= tensor.Buffer() < model.BuffersLength():
        raise RejectedUpload(f"tensor {name!r} is kept in buffer {tensor.Buffer()}: there is none")
    quantization = tensor.Quantization()
    read = Tensor(
        name=name,
        type=kind,
        shape=shape,
        signature=tuple(None if axis < 0 else axis for axis in (free or shape)),
        buffer=tensor.Buffer(),
        is_constant=_stored_bytes(model.Buffers(tensor.Buffer()), file_bytes) > 0,
        is_scaled=quantization is not None and quantization.ScaleLength() > 0,
    )
    if read.is_constant and tensor.Sparsity() is None:
        _check_values(read, model.Buffers(read.buffer), file_bytes)
    return read


def _stored_bytes(buffer: Any, file_bytes: int) -> int:
    """Values lie in the buffer, or beyond the flatbuffer where the file is larger than 2 GB."""
    # 1 is how the writer says "not yet placed".
    if buffer.Offset() > 1:
        if buffer.Offset() + buffer.Size() > file_bytes:
            raise RejectedUpload("a buffer reaches beyond the end of the file")
        return int(buffer.Size())
    return int(buffer.DataLength())


def _check_values(tensor: Tensor, buffer: Any, file_bytes: int) -> None:
    bits = TYPE_BITS.get(tensor.type)
    if bits is None:
        return
    wanted, stored = -(-tensor.size * bits // 8), _stored_bytes(buffer, file_bytes)
    if stored < wanted:
        raise RejectedUpload(
            f"tensor {tensor.name!r} of shape {tensor.shape} needs {wanted} bytes; {stored} are "
            "stored"
        )
    dtype = FLOATS.get(tensor.type)
    if dtype is None or buffer.Offset() > 1:
        return
    values = buffer.DataAsNumpy()[:wanted].view(dtype)
    if bad := int(values.size - np.isfinite(values).sum()):
        raise RejectedUpload(
            f"{bad} of {tensor.size} values of {tensor.name!r} are NaN or infinite",
            hint="Training diverged before the model was converted; upload an earlier state.",
        )


def _operator(
    operator: Any, codes: list[str], subgraph: int, subgraphs: int, tensors: int
) -> Operator:
    if not 0 <= operator.OpcodeIndex() < len(codes):
        raise RejectedUpload(
            f"an operator has the code number {operator.OpcodeIndex()}; there are {len(codes)}"
        )
    name = codes[operator.OpcodeIndex()]
    for called in _called(operator, name):
        # The converter numbers what is called after the caller; anything else may never end.
        if not subgraph < called < subgraphs:
            raise RejectedUpload(f"{name} in subgraph {subgraph} calls subgraph {called}")
    return Operator(
        name=name,
        inputs=_tensor_indices(operator.InputsLength(), operator.Inputs, tensors, OPTIONAL),
        outputs=_tensor_indices(operator.OutputsLength(), operator.Outputs, tensors),
        fused_activation=_fused_activation(operator, name),
    )


def _called(operator: Any, name: str) -> Iterator[int]:
    if name not in CALLS:
        return
    kind, fields = CALLS[name]
    options = _options(operator, kind)
    for field in fields:
        yield getattr(options, field)()


def _fused_activation(operator: Any, name: str) -> int:
    if name not in FUSED or operator.BuiltinOptions() is None:
        return int(tflite.ActivationFunctionType.NONE)
    return int(_options(operator, FUSED[name]).FusedActivationFunction())


def _options(operator: Any, kind: type[Any]) -> Any:
    table = operator.BuiltinOptions()
    options = kind()
    options.Init(table.Bytes, table.Pos)
    return options


def _tensor_indices(count: int, at: Any, tensors: int, least: int = 0) -> tuple[int, ...]:
    found = tuple(int(at(i)) for i in _indices(count))
    for index in found:
        if not least <= index < tensors:
            raise RejectedUpload(f"tensor number {index} is named; there are {tensors}")
    return found


def _indices(count: int) -> range:
    if count > MAX_ITEMS:
        raise RejectedUpload(f"a list has {count} entries; at most {MAX_ITEMS} are read")
    return range(count)
