"""Keras model -> ONNX file, by way of the SavedModel's frozen graph."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from app.errors import ExportFailed
from worker.engine.exporting.signature import SIGNATURE_KEY
from worker.engine.exporting.source import KerasSource
from worker.engine.foreign import first_line, is_out_of_memory

# The first with LayerNormalization's; ONNX Runtime reads it since 1.12, TensorRT and OpenVINO do.
OPSET = 17
BATCH_AXIS = "batch"
# Protocol buffers hold no more than 2 GiB.
MAX_BYTES = 2**31 - 1


def convert_onnx(source: KerasSource) -> bytes:
    """The float32 model under its own names, with an open batch.

    Raises: ExportFailed with the operators that ONNX does not have, or because of its size.
    """
    proto = onnx_model(source)
    if proto.ByteSize() > MAX_BYTES:
        raise ExportFailed(
            f"an onnx file holds at most {MAX_BYTES} bytes; this model needs {proto.ByteSize()}",
            hint="Ask for saved_model, which has no such limit.",
        )
    return bytes(proto.SerializeToString())


def onnx_model(source: KerasSource) -> Any:
    """`convert_onnx` before it is written, as an onnx.ModelProto."""
    # Imported where it is used: most jobs do without.
    import tf2onnx

    loaded = tf.saved_model.load(str(source.saved_model()))
    function = loaded.signatures[SIGNATURE_KEY]
    inputs = [port.exported_name for port in source.signature.inputs]
    outputs = [port.exported_name for port in source.signature.outputs]
    graph, given, made = _frozen(function, inputs)
    renamed = {**dict(zip(given, inputs, strict=True)), **made}
    with _quiet():
        try:
            proto, _ = tf2onnx.convert.from_graph_def(
                graph,
                name=source.model.name,
                input_names=given,
                output_names=list(made),
                opset=OPSET,
                tensors_to_rename=renamed,
            )
        except (ValueError, TypeError, KeyError, RuntimeError, tf.errors.OpError) as error:
            raise _refused(error) from error
    _check_operators(proto)
    for port in (*proto.graph.input, *proto.graph.output):
        _name_batch(port)
    in_order = {port.name: port for port in proto.graph.output}
    del proto.graph.output[:]
    proto.graph.output.extend(in_order[name] for name in outputs)
    return proto


def _frozen(function: Any, inputs: list[str]) -> tuple[Any, list[str], dict[str, str]]:
    """The function with its variables and whatever else it captured as constants.

    What layers keep beside their weights, as Normalization keeps mean and variance, is captured as
    a tensor. It would be an input that every caller has to give.
    Returns: the graph; its tensors for `inputs`; its outputs' tensors with their names.
    """
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    captured = frozen.captured_inputs
    placeholders = frozen.inputs[len(frozen.inputs) - len(captured) :] if captured else []
    values = {tensor.op.name: value for tensor, value in zip(placeholders, captured, strict=True)}
    for node in graph.node:
        if node.name in values:
            _make_constant(node, values[node.name])
    given = {tensor.name.split(":")[0]: tensor.name for tensor in frozen.inputs}
    names = sorted(function.structured_outputs)
    made = {tensor.name: name for name, tensor in zip(names, frozen.outputs, strict=True)}
    return graph, [given[name] for name in inputs], made


def _make_constant(node: Any, value: tf.Tensor) -> None:
    name, dtype = node.name, value.dtype.as_datatype_enum
    node.Clear()
    node.name, node.op = name, "Const"
    node.attr["dtype"].type = dtype
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.numpy()))


def _check_operators(proto: Any) -> None:
    """An operator that could not be translated is left as TensorFlow's own, without a word."""
    known = {"", "ai.onnx", "ai.onnx.ml"}
    import onnx

    foreign = sorted(
        {
            node.op_type
            for node in proto.graph.node
            if node.domain not in known or not onnx.defs.has(node.op_type, node.domain)
        }
    )
    if foreign:
        raise ExportFailed(
            f"ONNX has no operator for {', '.join(foreign)}",
            hint="Ask for tflite or saved_model, or take out the layers that need it.",
        )


def _name_batch(port: Any) -> None:
    """The converter numbers open axes anew for every tensor."""
    axes = port.type.tensor_type.shape.dim
    if axes and not axes[0].HasField("dim_value"):
        axes[0].dim_param = BATCH_AXIS


def _refused(error: Exception) -> Exception:
    if is_out_of_memory(error):
        return error
    return ExportFailed(
        f"the model cannot be translated to ONNX: {first_line(error)}",
        hint="Ask for tflite or saved_model.",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow says on every call that the converter uses what TensorFlow 1 was designed for."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
