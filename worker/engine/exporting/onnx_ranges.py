"""Int8 ONNX file of a model that holds its activation ranges already (fake quantization)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from app.errors import ExportFailed
from worker.engine.exporting.integers import holds_int8_ranges
from worker.engine.exporting.onnx_file import OPSET, convert_onnx, onnx_model
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.stored_levels import StoredNumbers, stored_levels
from worker.engine.exporting.tflite import Variant
from worker.engine.measuring.onnx_weights import CHANNELS_LAST, OnnxFile
from worker.engine.quantizing.int8_levels import LARGEST, with_scale_for_zeros

Array = npt.NDArray[Any]

# Axis of the outputs in the second operand of each operator that multiplies with a kernel.
OUTPUTS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1}
# They give on what they were given, so integers stay integers.
PASSING = frozenset({"Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def default_onnx(source: KerasSource) -> Converted:
    """The ONNX file of a recipe without a conversion: integers where the model has their ranges.

    Raises: ExportFailed with the reason.
    """
    return convert_known_ranges(source) or Converted(convert_onnx(source), Variant.FLOAT32)


def convert_known_ranges(source: Source) -> Converted | None:
    """The model's ranges as pairs of QuantizeLinear and DequantizeLinear, kernels as int8.

    Kernels on levels are stored as the numbers of these. Null where the model has no 8-bit ranges.
    """
    if not isinstance(source, KerasSource) or not holds_int8_ranges(source):
        return None
    model = onnx_model(source)
    known = stored_levels(source.model, source.levels, OnnxFile(model), 8)
    in_float = 0
    for node in list(model.graph.node):
        if node.op_type not in OUTPUTS:
            continue
        constant = _constant(model, node)
        if constant is None or not _reads_integers(model, node):
            in_float += 1
            continue
        _store(model, node, constant, known)
    if in_float == sum(node.op_type in OUTPUTS for node in model.graph.node):
        raise ExportFailed("none of the model's kernels stands behind a range")
    return Converted(
        model.SerializeToString(),
        Variant.MIXED if in_float else Variant.INT8,
        facts={"onnx_opset": OPSET},
    )


def _constant(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.TensorProto | None:
    found = (one for one in model.graph.initializer if one.name == node.input[1])
    constant = next(found, None)
    return constant if constant is not None and len(constant.dims) > 1 else None


def _reads_integers(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether what the kernel is multiplied with has a range, read through what only moves it."""
    makers = {name: one for one in model.graph.node for name in one.output}
    maker = makers.get(node.input[0])
    while maker is not None and maker.op_type in PASSING:
        maker = makers.get(maker.input[0])
    return maker is not None and maker.op_type == "DequantizeLinear"


def _store(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    constant: onnx.TensorProto,
    known: Mapping[str, StoredNumbers],
) -> None:
    """Put the kernel's integers in its place, with the operator that widens them."""
    is_transposed = any(one.name == "transB" and one.i for one in node.attribute)
    axis = 0 if is_transposed else OUTPUTS[node.op_type]
    kernel = numpy_helper.to_array(constant)
    scale, numbers = _integers(kernel, axis, node.op_type, known.get(constant.name))
    name = f"{constant.name}_int8_{axis}"
    if name not in {one.name for one in model.graph.initializer}:
        model.graph.initializer.extend(_arrays(name, scale, numbers))
        widening = helper.make_node(
            "DequantizeLinear",
            [name, f"{name}_scale", f"{name}_zero"],
            [f"{name}_real"],
            name=f"{name}_dequantize",
            axis=axis,
        )
        model.graph.node.insert(0, widening)
    node.input[1] = f"{name}_real"
    if not any(constant.name in one.input for one in model.graph.node):
        model.graph.initializer.remove(constant)


def _arrays(name: str, scale: Array, numbers: Array) -> Iterator[onnx.TensorProto]:
    yield numpy_helper.from_array(numbers, name)
    yield numpy_helper.from_array(scale, f"{name}_scale")
    yield numpy_helper.from_array(np.zeros(scale.shape, np.int8), f"{name}_zero")


def _integers(
    kernel: Array, axis: int, operator: str, known: StoredNumbers | None
) -> tuple[Array, Array]:
    """A scale for each output channel, and int8 numbers shaped like the kernel."""
    channels = kernel.shape[axis]
    if known is not None and known.scale.size in (1, channels):
        numbers = known.numbers
        if operator in CHANNELS_LAST:
            numbers = np.moveaxis(numbers, (0, -1), CHANNELS_LAST[operator])
        scale = np.broadcast_to(known.scale, channels).astype(np.float32)
        return scale, np.ascontiguousarray(numbers)
    along = [1] * kernel.ndim
    along[axis] = channels
    largest = np.abs(kernel).max(tuple(at for at in range(kernel.ndim) if at != axis))
    scale = with_scale_for_zeros((largest / LARGEST).astype(np.float32), largest == 0)
    return scale, np.rint(kernel / scale.reshape(along)).astype(np.int8)
