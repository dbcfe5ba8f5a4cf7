"""Which operators of a float tflite file stay float when the rest is quantized."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import keras

from app.recipes.patterns import matches
from app.reports.report import SkippedLayer
from worker.engine.measuring.layers import kernels
from worker.engine.measuring.matching import find_kernel
from worker.engine.measuring.tflite_file import Operator, Tensor, TfliteFile

ELEMENT_WISE = frozenset({"ADD", "SUB", "MUL", "DIV"})
# What an activation becomes where it is not fused into the operator before it.
ACTIVATIONS = frozenset(
    {"SOFTMAX", "LOGISTIC", "TANH", "RELU", "RELU6", "ELU", "GELU", "LEAKY_RELU", "HARD_SWISH"}
)


@dataclass(frozen=True)
class KeptFloat:
    """Operators that stay float, and asked-for layers whose operators could not be told."""

    operators: tuple[Operator, ...]
    not_found: tuple[SkippedLayer, ...]


def scaling_of_inputs(file: TfliteFile) -> tuple[Operator, ...]:
    """The element-wise operators with constants that come first: Normalization and Rescaling.

    One integer scale for features of different ranges leaves the narrow ones no values at all
    (r2 .997 -> -.29 on five such features); after the normalization they share one range.
    """
    found: list[Operator] = []
    frontier = {id(port.tensor) for port in file.inputs}
    for operator in file.operators:
        variables = [tensor for tensor in operator.inputs if not tensor.is_constant]
        is_scaling = operator.name in ELEMENT_WISE and operator.constants
        if is_scaling and all(id(tensor) in frontier for tensor in variables):
            found.append(operator)
            frontier |= {id(tensor) for tensor in operator.outputs}
    return tuple(found)


def operators_of_layers(
    file: TfliteFile, layers: Iterable[keras.layers.Layer], patterns: Sequence[str]
) -> KeptFloat:
    """The operators that hold the weights of the named layers, with their activations."""
    operators: list[Operator] = []
    not_found: list[SkippedLayer] = []
    for layer in layers:
        if not any(matches(pattern, layer.name) for pattern in patterns):
            continue
        own = _operators_of(file, layer)
        operators += own
        if not own:
            reason = (
                "its operators cannot be told apart in the converted file; it is quantized"
                if layer.weights
                else "it has no weights, so its operators cannot be told; it is quantized"
            )
            not_found.append(SkippedLayer(layer=layer.name, reason=reason))
    return KeptFloat(tuple(operators), tuple(not_found))


def operators_by_name(file: TfliteFile, patterns: Sequence[str]) -> tuple[Operator, ...]:
    """Operators whose output's name matches: what an uploaded tflite file has for layer names."""
    return tuple(
        operator
        for operator in file.operators
        if any(matches(pattern, tensor.name) for pattern in patterns for tensor in operator.outputs)
    )


def _operators_of(file: TfliteFile, layer: keras.layers.Layer) -> list[Operator]:
    stored = [find_kernel(kernel, file.weights) for kernel in kernels(layer)]
    holders = [
        operator
        for operator in file.operators
        if any(_is_any(tensor, stored) for tensor in operator.constants)
    ]
    produced = [tensor for operator in holders for tensor in operator.outputs]
    activations = [
        operator
        for operator in file.operators
        if operator.name in ACTIVATIONS and any(_is_any(t, produced) for t in operator.inputs)
    ]
    linear = keras.activations.linear
    has_own = getattr(layer, "activation", linear) is not linear
    return [*holders, *(activations if has_own else ())]


def _is_any(tensor: Tensor, candidates: Iterable[Tensor | None]) -> bool:
    return any(tensor is candidate for candidate in candidates)
