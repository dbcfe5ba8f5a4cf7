"""The flatbuffer of a TensorFlow Lite model as plain values, every index and size checked."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import tflite

from app.errors import RejectedUpload
from app.uploads.inspector.shown import shown
from app.uploads.inspector.tflite.arity import OPTIONAL
from app.uploads.inspector.tflite.calls import check_calls
from app.uploads.inspector.tflite.flow import check_flow
from app.uploads.inspector.tflite.reader import Reader
from app.uploads.inspector.tflite.tensors import Tensor, TensorReader

MAX_SUBGRAPHS = 1_000
SCHEMA_VERSION = 3
CUSTOM_CODE, SIGNATURE_KEY, PORT_NAME = 1, 2, 0
WHOLE_CODE = 3
BEYOND_A_BYTE = 127
OPERATORS: dict[int, str] = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()
}
# They run what is beside the schema, or other subgraphs in ways that are not followed here; no
# interpreter has the rest.
REFUSED = frozenset(
    """
    CALL CONCAT_EMBEDDINGS DELEGATE EMBEDDING_LOOKUP_SPARSE LSH_PROJECTION
    PLACEHOLDER_FOR_GREATER_OP_CODES SKIP_GRAM
    """.split()  # noqa: SIM905 - easier to read
)
STABLEHLO = "STABLEHLO_"
# Types of what an interpreter keeps for itself.
NO_VALUES = frozenset({"resource", "variant"})


class Call(NamedTuple):
    """How an operator names the subgraphs it runs."""

    kind: int
    options: type[Any]
    fields: tuple[str, ...]


CALLS: dict[str, Call] = {
    "CALL_ONCE": Call(
        tflite.BuiltinOptions.CallOnceOptions, tflite.CallOnceOptions, ("InitSubgraphIndex",)
    ),
    "IF": Call(
        tflite.BuiltinOptions.IfOptions,
        tflite.IfOptions,
        ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    ),
    "WHILE": Call(
        tflite.BuiltinOptions.WhileOptions,
        tflite.WhileOptions,
        ("CondSubgraphIndex", "BodySubgraphIndex"),
    ),
}
FUSED: dict[str, type[Any]] = {
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "FULLY_CONNECTED": tflite.FullyConnectedOptions,
}


class Operator(NamedTuple):
    """One operator; its inputs may be -1 where an optional one is left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    fused_activation: int
    calls: tuple[int, ...]


class Port(NamedTuple):
    """A tensor that goes in or comes out, and what the caller knows it by."""

    name: str
    tensor: int


class Subgraph(NamedTuple):
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def read_subgraphs(content: Any) -> tuple[Subgraph, ...]:
    """All of them, the main one first.

    Raises: RejectedUpload for what is wrong in itself; whatever indexing raises for broken offsets.
    """
    reader = Reader(content)
    model = reader.model
    if model.Version() != SCHEMA_VERSION:
        raise RejectedUpload(f"the model is written in version {model.Version()} of the schema")
    if model.SubgraphsLength() > MAX_SUBGRAPHS:
        raise RejectedUpload(f"the model has {model.SubgraphsLength()} subgraphs")
    codes = [
        _operator_name(reader, model.OperatorCodes(i))
        for i in reader.indices(model.OperatorCodesLength())
    ]
    tensors = TensorReader(reader)
    subgraphs = tuple(
        _subgraph(reader, tensors, index, codes) for index in range(model.SubgraphsLength())
    )
    if not subgraphs or not subgraphs[0].inputs or not subgraphs[0].outputs:
        raise RejectedUpload("the model has no inputs or no outputs")
    _check_port_types(subgraphs[0])
    for index, graph in enumerate(subgraphs):
        check_flow(
            graph.tensors,
            graph.operators,
            [port.tensor for port in graph.inputs],
            [port.tensor for port in graph.outputs],
            f"subgraph {index}",
        )
    _check_signatures(reader, subgraphs)
    check_calls([graph.operators for graph in subgraphs])
    return subgraphs


def _operator_name(reader: Reader, code: Any) -> str:
    # Files before schema 3a hold the code in a byte, later ones in both fields, or in the new one
    # alone. `code.BuiltinCode()` gives the byte for small numbers, which interpreters do not do.
    byte, whole = code.DeprecatedBuiltinCode(), reader.number(code, WHOLE_CODE)
    number = max(byte, whole)
    if byte not in (0, number, BEYOND_A_BYTE) or whole not in (0, number):
        raise RejectedUpload(f"an operator has two codes, {byte} and {whole}")
    name = OPERATORS.get(number)
    if name is None:
        raise RejectedUpload(f"operator code {number} is not one of TensorFlow Lite")
    if name == "CUSTOM":
        custom = reader.text(code, CUSTOM_CODE).decode("utf-8", "replace")
        raise RejectedUpload(
            f"the model uses the custom operator {shown(custom)}",
            hint="Convert it with built-in TensorFlow Lite operators only.",
        )
    if name in REFUSED or name.startswith(STABLEHLO):
        raise RejectedUpload(
            f"the model uses the operator {name}, which is not taken here",
            hint="Convert it with the converter of TensorFlow 2.",
        )
    return name


def _subgraph(reader: Reader, tensors: TensorReader, index: int, codes: list[str]) -> Subgraph:
    graph = reader.model.Subgraphs(index)
    read = tuple(tensors.read(graph.Tensors(i)) for i in reader.indices(graph.TensorsLength()))
    operators = tuple(
        _operator(reader, graph.Operators(i), codes, index, read)
        for i in reader.indices(graph.OperatorsLength())
    )
    signature = _signature(reader, index)
    inputs = _tensor_indices(reader, graph.InputsLength(), graph.Inputs, len(read))
    outputs = _tensor_indices(reader, graph.OutputsLength(), graph.Outputs, len(read))
    _check_written(read, inputs, f"subgraph {index}")
    given = _port_names(reader, signature.InputsLength(), signature.Inputs) if signature else {}
    returned = (
        _port_names(reader, signature.OutputsLength(), signature.Outputs) if signature else {}
    )
    return Subgraph(
        tensors=read,
        operators=operators,
        inputs=tuple(Port(given.get(at, read[at].name), at) for at in inputs),
        outputs=tuple(Port(returned.get(at, read[at].name), at) for at in outputs),
    )


def _signature(reader: Reader, subgraph: int) -> Any:
    """The first signature of a subgraph: it keeps the names that tensors lose in conversion."""
    count = reader.model.SignatureDefsLength()
    signatures = (reader.model.SignatureDefs(i) for i in reader.indices(count))
    return next((each for each in signatures if each.SubgraphIndex() == subgraph), None)


def _port_names(reader: Reader, count: int, at: Any) -> dict[int, str]:
    """The name of each tensor."""
    return {at(i).TensorIndex(): reader.name(at(i), PORT_NAME) for i in reader.indices(count)}


def _check_signatures(reader: Reader, subgraphs: tuple[Subgraph, ...]) -> None:
    """Interpreters look all of them up, also those that nobody asks for."""
    for index in reader.indices(reader.model.SignatureDefsLength()):
        signature = reader.model.SignatureDefs(index)
        key = reader.name(signature, SIGNATURE_KEY)
        if not 0 <= signature.SubgraphIndex() < len(subgraphs):
            raise RejectedUpload(
                f"signature {shown(key)} is of subgraph {signature.SubgraphIndex()}: there is none"
            )
        tensors = len(subgraphs[signature.SubgraphIndex()].tensors)
        ports = (
            *_port_names(reader, signature.InputsLength(), signature.Inputs),
            *_port_names(reader, signature.OutputsLength(), signature.Outputs),
        )
        if any(port >= tensors for port in ports):
            raise RejectedUpload(f"signature {shown(key)} names tensor {max(ports)}")


def _check_port_types(main: Subgraph) -> None:
    for port in (*main.inputs, *main.outputs):
        if main.tensors[port.tensor].type in NO_VALUES:
            raise RejectedUpload(f"{shown(port.name)} is a handle, which no one can give or take")


def _operator(
    reader: Reader, operator: Any, codes: list[str], subgraph: int, tensors: tuple[Tensor, ...]
) -> Operator:
    if not 0 <= operator.OpcodeIndex() < len(codes):
        raise RejectedUpload(
            f"an operator has the code number {operator.OpcodeIndex()}; there are {len(codes)}"
        )
    name = codes[operator.OpcodeIndex()]
    calls = tuple(_called(operator, name))
    for called in calls:
        if called == subgraph or not 0 <= called < reader.model.SubgraphsLength():
            raise RejectedUpload(f"{name} in subgraph {subgraph} calls subgraph {called}")
    count = len(tensors)
    inputs = _tensor_indices(reader, operator.InputsLength(), operator.Inputs, count, OPTIONAL)
    outputs = _tensor_indices(reader, operator.OutputsLength(), operator.Outputs, count)
    _check_written(tensors, outputs, f"{name} in subgraph {subgraph}")
    if inputs[:1] == (OPTIONAL,):
        raise RejectedUpload(f"{name} in subgraph {subgraph} lacks its first input")
    return Operator(name, inputs, outputs, _fused_activation(operator, name), calls)


def _check_written(tensors: tuple[Tensor, ...], written: tuple[int, ...], by: str) -> None:
    """Constants lie in the file itself, which is mapped for reading alone."""
    for index in written:
        if tensors[index].is_constant:
            raise RejectedUpload(f"{by} writes into the constant {shown(tensors[index].name)}")


def _called(operator: Any, name: str) -> Iterator[int]:
    if name not in CALLS:
        return
    call = CALLS[name]
    # Where the kind is another one, an interpreter takes 0 for every number.
    if operator.BuiltinOptionsType() != call.kind:
        raise RejectedUpload(f"{name} does not say which subgraphs it calls")
    options = _options(operator, call.options)
    for field in call.fields:
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


def _tensor_indices(
    reader: Reader, count: int, at: Any, tensors: int, least: int = 0
) -> tuple[int, ...]:
    found = tuple(int(at(i)) for i in reader.indices(count))
    for index in found:
        if not least <= index < tensors:
            raise RejectedUpload(f"tensor number {index} is named; there are {tensors}")
    return found
