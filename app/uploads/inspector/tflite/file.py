"""Reads `.tflite` files through their schema alone: no interpreter, nothing is run.

An interpreter crashes on a file whose indices or shapes are wrong, so every index is checked here
before a job may load it.
"""

import mmap
import struct
from typing import BinaryIO

from app.errors import RejectedUpload
from app.recipes.facts import Activation, Head, LayerSpec, ModelFacts, ModelFormat, TensorSpec
from app.uploads.inspector.tflite.graph import Operator, Port, Subgraph, read_subgraphs

QUANTIZED_TYPES = frozenset({"int4", "int8", "uint8", "int16", "float16"})
RECURRENT = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "LSTM",
        "RNN",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "WHILE",
    }
)
ENDS: dict[str, Activation] = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}
PASSING = frozenset({"DEQUANTIZE", "QUANTIZE"})
FUSING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
# What walking a flatbuffer with wrong offsets ends in.
BROKEN = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)


def read_tflite(file: BinaryIO) -> ModelFacts:
    """What a TensorFlow Lite model holds.

    Raises: RejectedUpload.
    """
    # Never closed: what a refusal holds on to may point into it.
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        subgraphs = read_subgraphs(content)
    except BROKEN as error:
        raise RejectedUpload(
            "the TensorFlow Lite data is damaged: an offset in it leads nowhere",
            hint="Convert the model again; check that an interpreter loads it.",
        ) from error
    return _facts(subgraphs)


def _facts(subgraphs: tuple[Subgraph, ...]) -> ModelFacts:
    _check_variables(subgraphs)
    main = subgraphs[0]
    weights = {
        tensor.buffer: tensor
        for subgraph in subgraphs
        for tensor in subgraph.tensors
        if tensor.is_weight
    }
    layers = tuple(_layer(subgraphs, operator) for operator in main.operators)
    return ModelFacts(
        format=ModelFormat.TFLITE,
        class_name="TFLite",
        inputs=tuple(_spec(main, port) for port in main.inputs),
        outputs=tuple(_spec(main, port) for port in main.outputs),
        heads=tuple(_head(main, port) for port in main.outputs),
        layers=layers,
        layer_count=len(layers),
        parameter_count=sum(tensor.size for tensor in weights.values()),
        is_recurrent=any(
            operator.name in RECURRENT for subgraph in subgraphs for operator in subgraph.operators
        ),
        is_quantized=any(
            tensor.type == "float16" or (tensor.type in QUANTIZED_TYPES and tensor.is_scaled)
            for tensor in weights.values()
        ),
        keras_version=None,
    )


def _spec(subgraph: Subgraph, port: Port) -> TensorSpec:
    tensor = subgraph.tensors[port.tensor]
    return TensorSpec(name=port.name, shape=tensor.signature[1:], dtype=tensor.type)


def _layer(subgraphs: tuple[Subgraph, ...], operator: Operator) -> LayerSpec:
    """An operator of the main graph, called after what it makes, with the weights of its loops."""
    main = subgraphs[0]
    made = main.tensors[operator.outputs[0]].name if operator.outputs else operator.name
    used = [main.tensors[index] for index in operator.inputs if index >= 0]
    used += [tensor for called in _called(subgraphs, operator) for tensor in called.tensors]
    constants = {tensor.buffer: tensor.size for tensor in used if tensor.is_weight}
    return LayerSpec(name=made, class_name=operator.name, parameter_count=sum(constants.values()))


def _called(subgraphs: tuple[Subgraph, ...], operator: Operator) -> list[Subgraph]:
    """Every subgraph that it runs, and that those run, once each."""
    reached = dict.fromkeys(operator.calls)
    pending = list(reached)
    while pending:
        operators = subgraphs[pending.pop()].operators
        more = {index for each in operators for index in each.calls} - reached.keys()
        reached |= dict.fromkeys(more)
        pending.extend(more)
    return [subgraphs[index] for index in reached]


def _check_variables(subgraphs: tuple[Subgraph, ...]) -> None:
    """Raises: RejectedUpload where weights were left out: every interpreter fails at them."""
    found = {operator.name for subgraph in subgraphs for operator in subgraph.operators}
    if "READ_VARIABLE" in found and "ASSIGN_VARIABLE" not in found:
        raise RejectedUpload(
            "the model reads variables that nothing in the file sets: its weights were not "
            "converted with it",
            hint="Convert the model with TFLiteConverter.from_keras_model or from_saved_model, or "
            "freeze its variables first.",
        )


def _head(subgraph: Subgraph, port: Port) -> Head:
    shape = subgraph.tensors[port.tensor].signature
    return Head(
        output=port.name,
        shape=shape[1:],
        activation=_activation(subgraph, port.tensor),
        units=shape[-1] if len(shape) > 1 else None,
        compiled_loss=None,
    )


def _activation(subgraph: Subgraph, tensor: int) -> Activation:
    makers = {made: operator for operator in subgraph.operators for made in operator.outputs}
    seen: set[int] = set()
    while (operator := makers.get(tensor)) and tensor not in seen:
        seen.add(tensor)
        if operator.name in ENDS:
            return ENDS[operator.name]
        if operator.name in FUSING:
            return "other" if operator.fused_activation else "linear"
        if operator.name not in PASSING:
            return "other"
        tensor = operator.inputs[0]
    return "other"
