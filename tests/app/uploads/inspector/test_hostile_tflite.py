"""An honest TensorFlow Lite file, changed as a stranger might, each time with its refusal."""

import copy
import io
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from app.errors import RejectedUpload
from app.recipes.facts import ModelFacts
from app.uploads.inspector.tflite import reader, tensors
from app.uploads.inspector.tflite.file import read_tflite

HONEST = (Path(__file__).parent / "files" / "int8.tflite").read_bytes()
FLOAT = (Path(__file__).parent / "files" / "float32.tflite").read_bytes()
Change = Callable[[Any], object]


def changed(change: Change, content: bytes = FLOAT) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def read(content: bytes) -> ModelFacts:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return read_tflite(file)


def main(model: Any) -> Any:
    return model.subgraphs[0]


def kernel(model: Any) -> Any:
    """The weights of the first layer: 4 values for each of 8 units."""
    return next(each for each in main(model).tensors if list(each.shape) == [8, 4])


def call(name: str, options: Any, kind: int) -> Change:
    """The first operator runs the main subgraph, or says that it does something else."""

    def change(model: Any) -> None:
        code = getattr(schema.BuiltinOperator, name)
        model.operatorCodes[0].builtinCode = code
        model.operatorCodes[0].deprecatedBuiltinCode = min(code, 127)
        first = main(model).operators[0]
        first.builtinOptions, first.builtinOptionsType = options, kind

    return change


def chain(model: Any) -> None:
    """Forty subgraphs, each calling the next."""
    call_in_turn(model, [*range(41)])


def circle(model: Any) -> None:
    call_in_turn(model, [0, 1, 2, 3, 1])


def backwards(model: Any) -> None:
    """A loop around a loop, as the converter may number them."""
    call_in_turn(model, [0, 3, 2, 1])


def doubling(levels: int) -> Change:
    """A subgraph calls the next one twice, which calls the next one twice, and so on."""

    def change(model: Any) -> None:
        call_in_turn(model, [*range(levels)])
        call_in_turn(model, [*range(levels)])

    return change


def call_in_turn(model: Any, numbers: list[int]) -> None:
    """As many subgraphs, each of these calling the one after it."""
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CALL_ONCE
    code.deprecatedBuiltinCode = 127
    code.version = 1
    model.operatorCodes.append(code)
    model.subgraphs.extend(schema.SubGraphT() for _ in range(max(numbers)))
    for caller, called in pairwise(numbers):
        graph, operator = model.subgraphs[caller], schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptionsType = schema.BuiltinOptions.CallOnceOptions
        operator.builtinOptions = schema.CallOnceOptionsT()
        operator.builtinOptions.initSubgraphIndex = called
        graph.operators = [*(graph.operators or []), operator]


def rename_signature(model: Any) -> None:
    model.signatureDefs[0].signatureKey = "a\n2026 INFO forged"


def sparse(segments: list[int], indices: list[int]) -> Change:
    """The kernel is said to hold the values of a few columns."""

    def vector(values: list[int]) -> Any:
        made = schema.Int32VectorT()
        made.values = np.array(values, np.int32)
        return made

    def change(model: Any) -> None:
        tensor = kernel(model)
        rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
        rows.format, rows.denseSize = schema.DimensionType.DENSE, tensor.shape[0]
        columns.format = schema.DimensionType.SPARSE_CSR
        columns.arraySegmentsType = schema.SparseIndexVector.Int32Vector
        columns.arraySegments = vector(segments)
        columns.arrayIndicesType = schema.SparseIndexVector.Int32Vector
        columns.arrayIndices = vector(indices)
        tensor.sparsity = schema.SparsityParametersT()
        tensor.sparsity.traversalOrder = np.array([0, 1], np.int32)
        tensor.sparsity.dimMetadata = [rows, columns]

    return change


def set_(target: Callable[[Any], Any], **values: Any) -> Change:
    def change(model: Any) -> None:
        for name, value in values.items():
            setattr(target(model), name, value)

    return change


def write_kernel(model: Any) -> None:
    main(model).operators[0].outputs = [main(model).tensors.index(kernel(model))]


def feed_kernel(model: Any) -> None:
    main(model).inputs = [main(model).tensors.index(kernel(model))]


def first(model: Any) -> Any:
    return main(model).operators[0]


def reverse(model: Any) -> None:
    main(model).operators = main(model).operators[::-1]


def repeat(model: Any) -> None:
    main(model).operators[1].outputs = main(model).operators[0].outputs


def feed_itself(model: Any) -> None:
    step = main(model).operators[1]
    step.inputs = [*step.outputs, *list(step.inputs)[1:]]


def return_nothing(model: Any) -> None:
    """An output that no operator makes."""
    main(model).tensors.append(copy.deepcopy(main(model).tensors[main(model).outputs[0]]))
    main(model).outputs = [len(main(model).tensors) - 1]


def twice(model: Any) -> None:
    main(model).inputs = [*main(model).inputs] * 2


def keep_for_itself(model: Any) -> None:
    main(model).tensors[main(model).inputs[0]].type = schema.TensorType.RESOURCE


def scaled(scale: float, zero_point: int = 0) -> Change:
    return set_(
        scales,
        scale=np.full(1, scale, np.float32),
        zeroPoint=np.full(1, zero_point, np.int64),
    )


def scales(model: Any) -> Any:
    return kernel(model).quantization


ROWS = 8
EVEN = list(range(ROWS + 1))
REFUSED: dict[str, tuple[bytes, Change, str]] = {
    "a code in the new field alone": (
        FLOAT,
        set_(
            lambda model: model.operatorCodes[0],
            builtinCode=schema.BuiltinOperator.CUSTOM,
            deprecatedBuiltinCode=0,
        ),
        "the custom operator",
    ),
    "two codes": (
        FLOAT,
        set_(lambda model: model.operatorCodes[0], builtinCode=9, deprecatedBuiltinCode=3),
        "an operator has two codes, 3 and 9",
    ),
    "another schema": (FLOAT, set_(lambda model: model, version=4), "version 4 of the schema"),
    "a call that does not say so": (FLOAT, call("WHILE", None, 0), "does not say which subgraphs"),
    "a call in the words of another": (
        FLOAT,
        call("WHILE", schema.SoftmaxOptionsT(), schema.BuiltinOptions.SoftmaxOptions),
        "does not say which subgraphs it calls",
    ),
    "a call of itself": (
        FLOAT,
        call("IF", schema.IfOptionsT(), schema.BuiltinOptions.IfOptions),
        "IF in subgraph 0 calls subgraph 0",
    ),
    "a call of the interpreter's own": (FLOAT, call("CALL", None, 0), "the operator CALL"),
    "another way to loop": (FLOAT, call("STABLEHLO_WHILE", None, 0), "STABLEHLO_WHILE"),
    "another way to compose": (FLOAT, call("STABLEHLO_COMPOSITE", None, 0), "STABLEHLO_COMPOSITE"),
    "what is beside the schema": (FLOAT, call("DELEGATE", None, 0), "the operator DELEGATE"),
    "a call of itself by way of others": (FLOAT, circle, "subgraph 1 calls itself"),
    "calls in calls": (FLOAT, chain, "call each other more than 32 deep"),
    "calls that double at each level": (FLOAT, doubling(32), "more than 2000000 operators"),
    "no first input": (
        FLOAT,
        set_(lambda model: main(model).operators[0], inputs=[-1, 1, 2]),
        "lacks its first input",
    ),
    "a result in a constant": (FLOAT, write_kernel, "writes into the constant"),
    "an input in a constant": (FLOAT, feed_kernel, "subgraph 0 writes into the constant"),
    "many axes": (
        FLOAT,
        set_(lambda model: main(model).tensors[0], shape=[1] * 17),
        "has 17 axes",
    ),
    "more values than fit": (
        FLOAT,
        set_(lambda model: main(model).tensors[0], shape=[2**15, 2**16]),
        "has the shape (32768, 65536)",
    ),
    "two shapes": (
        FLOAT,
        set_(lambda model: main(model).tensors[0], shapeSignature=[-1, 2, 3]),
        "has the shapes",
    ),
    "a name without end": (
        FLOAT,
        set_(lambda model: main(model).tensors[0], name="x" * 1_001),
        "a name has 1001 bytes",
    ),
    "a name that forges a line": (
        FLOAT,
        set_(lambda model: main(model).tensors[0], name="a\n2026 INFO forged"),
        r"a tensor or signature is called 'a\n2026 INFO forged'",
    ),
    "a name that is no text": (
        FLOAT,
        set_(lambda model: main(model).tensors[0], name=b"a\xff"),
        "a name is not UTF-8 text: b'a\\xff'",
    ),
    "a signature that forges a line": (FLOAT, rename_signature, "a tensor or signature is called"),
    "a signature of no subgraph": (
        FLOAT,
        set_(lambda model: model.signatureDefs[0], subgraphIndex=7),
        "is of subgraph 7: there is none",
    ),
    "a signature of no tensor": (
        FLOAT,
        set_(lambda model: model.signatureDefs[0].inputs[0], tensorIndex=7_000),
        "names tensor 7000",
    ),
    "fewer scales than channels": (
        HONEST,
        set_(scales, scale=np.ones(2, np.float32), zeroPoint=np.zeros(2, np.int64)),
        "has 2 scales and 2 zero points",
    ),
    "fewer zero points than scales": (
        HONEST,
        set_(scales, scale=np.ones(1, np.float32), zeroPoint=np.zeros(3, np.int64)),
        "has 1 scales and 3 zero points",
    ),
    "scales along no axis": (
        HONEST,
        set_(scales, scale=np.ones(8, np.float32), quantizedDimension=9),
        "along axis 9",
    ),
    "a scale that is no number": (
        HONEST,
        set_(scales, scale=np.full(1, np.nan, np.float32), zeroPoint=np.zeros(1, np.int64)),
        "are NaN or infinite",
    ),
    "a scale of zero": (HONEST, scaled(0.0), "are zero or less"),
    "a scale below zero": (HONEST, scaled(-1.0), "are zero or less"),
    "a scale that is nearly zero": (HONEST, scaled(1e-45), "are zero or less, or nearly so"),
    "a zero point beyond its type": (HONEST, scaled(1.0, 128), "is no value of type int8"),
    "a zero point beyond all types": (HONEST, scaled(1.0, 2**62), "is no value of type int8"),
    "an unknown type": (
        FLOAT,
        set_(lambda model: main(model).tensors[0], type=99),
        "of the unknown type 99",
    ),
    "operators in another order": (FLOAT, reverse, "before anything makes it"),
    "an operator that feeds itself": (FLOAT, feed_itself, "before anything makes it"),
    "a result that is made twice": (FLOAT, repeat, "makes the tensor"),
    "an input that is given twice": (FLOAT, twice, "makes the tensor"),
    "an output that nothing makes": (FLOAT, return_nothing, "before anything makes it"),
    "an input that is a handle": (FLOAT, keep_for_itself, "is a handle"),
    "no inputs": (FLOAT, set_(first, inputs=[]), "has 0 inputs and 1 outputs"),
    "one input": (FLOAT, set_(first, inputs=[0]), "has 1 inputs and 1 outputs"),
    "too many inputs": (FLOAT, set_(first, inputs=[0, 1, 2, 1]), "has 4 inputs"),
    "no outputs": (FLOAT, set_(first, outputs=[]), "inputs and 0 outputs"),
    "no weights": (FLOAT, set_(first, inputs=[0, -1, 2]), "has 2 inputs"),
    "an index past the end": (FLOAT, sparse(EVEN, [4] * ROWS), "leads out of it"),
    "an index before the beginning": (FLOAT, sparse(EVEN, [-1] * ROWS), "leads out of it"),
    "rows that end before they begin": (
        FLOAT,
        sparse([0, 5, *EVEN[2:]], [0] * ROWS),
        "leads out of it",
    ),
    "rows beyond the index": (FLOAT, sparse([*EVEN[:-1], 99], [0] * ROWS), "leads out of it"),
    "too few rows": (FLOAT, sparse(EVEN[:-1], [0] * (ROWS - 1)), "leads out of it"),
    "no index": (FLOAT, sparse([], []), "leads out of it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_read_tflite_refuses(case: str) -> None:
    content, change, why = REFUSED[case]
    with pytest.raises(RejectedUpload) as caught:
        read(changed(change, content))
    assert why in caught.value.detail
    assert caught.value.detail.isprintable()


def test_read_tflite_takes_the_file_as_it_was() -> None:
    assert read(changed(lambda _: None)) == read(FLOAT)
    assert read(changed(lambda _: None, HONEST)) == read(HONEST)


def test_read_tflite_takes_calls_that_end_in_whatever_order_they_are_numbered() -> None:
    assert read(changed(backwards)).layer_count > 0


def test_read_tflite_takes_calls_that_double_a_few_times() -> None:
    assert read(changed(doubling(8))).layer_count > 0


def test_read_tflite_takes_a_sparse_kernel_whose_index_stays_inside() -> None:
    assert read(changed(sparse(EVEN, [0, 1, 2, 3] * 2))).parameter_count == 56


def test_read_tflite_refuses_more_values_than_a_machine_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensors, "MAX_ALL_VALUES", 10)
    with pytest.raises(RejectedUpload, match="values; at most 10 are taken"):
        read(FLOAT)


def test_read_tflite_reads_lists_that_many_share_only_so_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "MAX_ITEMS", 20)
    with pytest.raises(RejectedUpload, match="more than 20 entries"):
        read(FLOAT)


def test_read_tflite_looks_at_values_beyond_the_flatbuffer() -> None:
    """Where a file is larger than 2 GB, values lie after it."""
    values = np.ones(32, np.float32)

    def move(model: Any) -> None:
        buffer = model.buffers[kernel(model).buffer]
        buffer.data, buffer.offset, buffer.size = None, 2**20, values.nbytes

    content = io.BytesIO(changed(move))
    content.seek(2**20)
    content.write(values.tobytes())
    assert read(content.getvalue()).parameter_count == 56
    content.seek(2**20)
    content.write(np.full(1, np.nan, np.float32).tobytes())
    with pytest.raises(RejectedUpload, match="1 of 32 values"):
        read(content.getvalue())
