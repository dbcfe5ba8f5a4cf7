"""Keras model -> int8 ONNX file in the QDQ format: QuantizeLinear and DequantizeLinear pairs."""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import onnx

from app.errors import ExportFailed
from app.recipes.patterns import matches
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization
from app.reports.report import SkippedLayer
from worker.engine.context import StepContext
from worker.engine.exporting.calibration import exported_rows
from worker.engine.exporting.onnx_file import OPSET, onnx_model
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.tflite import Rows, Variant
from worker.engine.foreign import first_line
from worker.engine.measuring.layers import kernels, leaf_layers
from worker.engine.measuring.matching import find_kernel
from worker.engine.measuring.onnx_weights import OnnxFile, quantized_operators, read_onnx
from worker.engine.quantizing.calibration.sample import sample_for

SCALING = frozenset({"Add", "Sub", "Mul", "Div", "Cast"})
# Probabilities are as fine as floats where they are what the model gives.
ENDS = frozenset({"Softmax", "Sigmoid"})
FLOAT_PORTS = "Inputs and outputs of the onnx file are float32: in the QDQ format they always are."

OWN_RANGES = (
    "Ranges of the onnx file hold all values of the sample (min_max): calibration {calibration} is "
    "that of tflite files."
)


def convert_qdq(step: FullIntegerQuantization, source: Source, context: StepContext) -> Converted:
    """int8 kernels a channel and uint8 activations, their ranges from the same rows as tflite's.

    What scales the inputs, and a softmax or sigmoid at the end, stay float.
    Raises: ExportFailed where this format or runtime has no such thing.
    """
    if not isinstance(source, KerasSource):
        raise ExportFailed("only a model of Keras layers can be turned into onnx")
    if step.activation_bits != 8:
        raise ExportFailed(
            f"no onnx file with {step.activation_bits}-bit activations: opset {OPSET} has only 8"
        )
    source = source.without_ranges()
    context.check_cancelled()
    sample = sample_for(step, context)
    rows = exported_rows(source, sample.rows)
    with tempfile.TemporaryDirectory(dir=context.scratch) as folder:
        prepared = _prepared(onnx_model(source), Path(folder))
        context.check_cancelled()
        file = OnnxFile(prepared)
        excluded, not_found = _excluded(step, source.model, file)
        kept = {*excluded, *_scaling(prepared), *_ends(prepared)}
        content = _quantized(prepared, Path(folder), rows, sorted(kept))
    operators = Counter(quantized_operators(read_onnx(content)))
    in_float = {name: count for (name, is_int8), count in operators.items() if not is_int8}
    if len(in_float) == len(operators):
        raise ExportFailed("ONNX Runtime's quantizer found nothing that it could quantize")
    return Converted(
        content,
        Variant.MIXED if in_float else Variant.INT8,
        facts={
            "onnx_opset": OPSET,
            "onnx_int8_operators": {name: n for (name, is_int8), n in operators.items() if is_int8},
            "onnx_float_operators": in_float,
        },
        warnings=(*sample.warnings, *_differences(step)),
        skipped=not_found,
    )


def _differences(step: FullIntegerQuantization) -> Iterator[str]:
    """What the step asks for and this format or runtime does otherwise."""
    if step.io == "integer":
        yield FLOAT_PORTS
    if step.calibration != "min_max":
        yield OWN_RANGES.format(calibration=step.calibration)


def _prepared(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Constants folded and shapes worked out: what the quantizer wants to find."""
    import onnxruntime

    from worker.engine.measuring.onnx_runner import REFUSALS

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "prepared.onnx")
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.shape_inference.infer_shapes(onnx.load(folder / "prepared.onnx"))
    except (*REFUSALS, RuntimeError, ValueError) as error:
        raise ExportFailed(f"ONNX Runtime cannot prepare the model: {first_line(error)}") from error


def _quantized(model: onnx.ModelProto, folder: Path, rows: Rows, kept: list[str]) -> bytes:
    from onnxruntime import quantization

    from worker.engine.measuring.onnx_runner import REFUSALS

    # A path, not the model: that one would be written with its constants in another file.
    given, made = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, given)
    # It advises on the root logger to do what was just done.
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        quantization.quantize_static(
            str(given),
            str(made),
            _Reader(rows),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=kept,
        )
    except (*REFUSALS, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ExportFailed(
            f"ONNX Runtime cannot quantize the model: {first_line(error)}"
        ) from error
    finally:
        logger.setLevel(level)
    return made.read_bytes()


class _Reader:
    """Rows one by one, as the quantizer asks for them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._count = len(next(iter(rows.values())))
        self._next = 0

    def get_next(self) -> dict[str, Any] | None:
        if self._next == self._count:
            return None
        start, self._next = self._next, self._next + 1
        return {name: array[start : start + 1] for name, array in self._rows.items()}


def _scaling(model: onnx.ModelProto) -> Iterator[str]:
    """Element-wise nodes with constants that come first: Normalization and Rescaling.

    As in a tflite file: one integer scale for features of different ranges leaves the narrow ones
    no values.
    """
    constants = {one.name for one in model.graph.initializer}
    frontier = {port.name for port in model.graph.input} - constants
    for node in model.graph.node:
        variables = [name for name in node.input if name not in constants]
        if node.op_type in SCALING and variables and set(variables) <= frontier:
            frontier |= set(node.output)
            yield node.name


def _ends(model: onnx.ModelProto) -> Iterator[str]:
    outputs = {port.name for port in model.graph.output}
    for node in model.graph.node:
        if node.op_type in ENDS and outputs & set(node.output):
            yield node.name


def _excluded(
    step: FullIntegerQuantization, model: keras.Model, file: OnnxFile
) -> tuple[list[str], tuple[SkippedLayer, ...]]:
    """The nodes with weights of layers to be kept float; layers of which none was found."""
    names: list[str] = []
    not_found: list[SkippedLayer] = []
    for layer in leaf_layers(model):
        if not any(matches(pattern, layer.name) for pattern in step.exclude):
            continue
        own = _nodes_of(layer, file)
        names += own
        if not own:
            reason = "its nodes cannot be told in the onnx file; it is quantized there"
            not_found.append(SkippedLayer(layer=layer.name, reason=reason))
    return names, tuple(not_found)


def _nodes_of(layer: keras.layers.Layer, file: OnnxFile) -> Sequence[str]:
    found = (find_kernel(kernel, file.weights) for kernel in kernels(layer))
    return [
        node.name for tensor in found if tensor is not None for node in file.readers(tensor.name)
    ]
