"""Multiply-accumulates of one sample, read from a tflite file."""

import math

from worker.engine.measuring.tflite_file import Operator, TfliteFile

# They compute what this file's tables do not tell.
UNKNOWN = frozenset(
    {
        "WHILE",
        "RNN",
        "LSTM",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "CUSTOM",
    }
)


def tflite_macs(file: TfliteFile) -> dict[str, int | None]:
    """Name of an operator's output -> its multiply-accumulates, for operators that have any."""
    return {
        operator.outputs[0].name: None if operator.name in UNKNOWN else _macs(operator)
        for operator in file.operators
        if operator.outputs and (operator.name in UNKNOWN or _macs(operator) > 0)
    }


def _macs(operator: Operator) -> int:
    """Kernels are [out, h, w, in], depthwise [1, h, w, out], fully-connected [out, in]."""
    made = math.prod(operator.outputs[0].shape)
    if operator.name in ("CONV_2D", "CONV_3D", "FULLY_CONNECTED"):
        kernel = operator.inputs[1].shape
        if operator.name == "CONV_3D":
            return made * math.prod(kernel[:-1])
        return made * math.prod(kernel[1:])
    if operator.name == "DEPTHWISE_CONV_2D":
        return made * math.prod(operator.inputs[1].shape[1:3])
    if operator.name == "TRANSPOSE_CONV":
        return math.prod(operator.inputs[2].shape[:3]) * math.prod(operator.inputs[1].shape)
    if operator.name == "BATCH_MATMUL":
        return made * operator.inputs[0].shape[-1]
    return 0
