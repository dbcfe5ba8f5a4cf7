"""What an output was before its softmax or sigmoid; traceable."""

from typing import Any, Literal

from keras import ops

from app.recipes.task import TaskKind

OutputIs = Literal["logits", "probabilities", "values"]

# log(1e-30) is -69, more than any softmax tells apart in float32; a sigmoid's 1 - 1e-7 is the
# largest float32 below 1 but one.
LEAST_PROBABILITY = 1e-30
SIGMOID_MARGIN = 1e-7


def logits_of(kind: TaskKind, output_is: OutputIs, output: Any) -> Any:
    """Logits of a head, whatever it ends in; the values themselves in regression. float32.

    Keras' activations leave their argument on what they return (`_keras_logits`), which is exact.
    Where layers came after it is gone: then the logarithm of the class probabilities, which are
    logits but for a constant of each row, or ln(p / (1 - p)) of a sigmoid.
    """
    if output_is != "probabilities":
        return ops.cast(output, "float32")
    wanted = "Softmax" if kind is TaskKind.CLASSIFICATION else "Sigmoid"
    if _operation(output) == wanted and hasattr(output, "_keras_logits"):
        return ops.cast(output._keras_logits, "float32")
    probabilities = ops.cast(output, "float32")
    if kind is TaskKind.CLASSIFICATION:
        return ops.log(ops.maximum(probabilities, LEAST_PROBABILITY))
    inner = ops.clip(probabilities, SIGMOID_MARGIN, 1 - SIGMOID_MARGIN)
    return ops.log(inner) - ops.log1p(-inner)


def _operation(output: Any) -> str | None:
    """The TensorFlow operation a traced tensor comes from; None where nothing is traced.

    Keras leaves logits on the output of a sigmoid and of a softmax alike, and one over another axis
    ends in a transposition.
    """
    try:
        kind: str = output.op.type
    except AttributeError:
        return None
    return kind
