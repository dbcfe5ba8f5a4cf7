"""What goes into and comes out of an uploaded tflite file, in the words used for all models."""

from app.recipes.facts import Activation, Head, TensorSpec
from worker.engine.measuring.tflite_file import OPTIONS, Operator, Tensor, TfliteFile

ENDS: dict[str, Activation] = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}
# They pass values on as they are.
PASSING = frozenset({"DEQUANTIZE", "QUANTIZE"})


def tflite_inputs(file: TfliteFile) -> tuple[TensorSpec, ...]:
    """Inputs in the file's order."""
    return tuple(
        TensorSpec(
            name=port.name,
            shape=port.tensor.open_shape[1:],
            dtype=port.tensor.type_name.lower(),
        )
        for port in file.inputs
    )


def tflite_heads(file: TfliteFile) -> tuple[Head, ...]:
    """How each output ends. A tflite file does not say what it was trained with."""
    return tuple(
        Head(
            output=port.name,
            shape=port.tensor.open_shape[1:],
            activation=_activation(file, port.tensor),
            units=port.tensor.open_shape[-1] if len(port.tensor.open_shape) > 1 else None,
            compiled_loss=None,
        )
        for port in file.outputs
    )


def _activation(file: TfliteFile, output: Tensor) -> Activation:
    maker = _maker(file, output)
    while maker and maker.name in PASSING:
        maker = _maker(file, maker.inputs[0])
    if maker is None or maker.has_fused_activation:
        return "other"
    return ENDS.get(maker.name, "linear" if maker.name in OPTIONS else "other")


def _maker(file: TfliteFile, tensor: Tensor) -> Operator | None:
    """The operator whose output this is."""
    for operator in file.operators:
        if any(made is tensor for made in operator.outputs):
            return operator
    return None
