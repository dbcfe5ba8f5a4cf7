"""Finds the kernels of a model: the weights that are multiplied with activations."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras

from worker.engine.surgery.weights import Leaf, leaves, sublayers

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    """One kernel and how its axes are to be read.

    `input_axes` lead over the weights that are summed into one output; the other axes lead over
    outputs. Dense [in, out], convolutions [..., in, out], transposed ones [..., out, in],
    depthwise [..., in, multiplier] (each output sums over space only).
    """

    name: str
    layer_name: str
    variable: keras.Variable
    input_axes: Axes

    @property
    def size(self) -> int:
        return math.prod(self.variable.shape)


@dataclass(frozen=True)
class NoKernel:
    """A layer with weights of two or more axes that have no rule, and why."""

    layer_name: str
    reason: str


# Which attributes of a layer (or of a cell or half inside it) are kernels.
_ATTRIBUTES: Mapping[type[keras.Layer], tuple[str, ...]] = {
    keras.layers.Dense: ("kernel",),
    keras.layers.EinsumDense: ("kernel",),
    keras.layers.Conv1D: ("kernel",),
    keras.layers.Conv2D: ("kernel",),
    keras.layers.Conv3D: ("kernel",),
    keras.layers.Conv1DTranspose: ("kernel",),
    keras.layers.Conv2DTranspose: ("kernel",),
    keras.layers.Conv3DTranspose: ("kernel",),
    keras.layers.DepthwiseConv1D: ("kernel",),
    keras.layers.DepthwiseConv2D: ("kernel",),
    keras.layers.SeparableConv1D: ("depthwise_kernel", "pointwise_kernel"),
    keras.layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
    keras.layers.LSTMCell: ("kernel", "recurrent_kernel"),
    keras.layers.GRUCell: ("kernel", "recurrent_kernel"),
    keras.layers.SimpleRNNCell: ("kernel", "recurrent_kernel"),
}
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def kernels(model: keras.Model) -> Iterator[Kernel | NoKernel]:
    """Every kernel in the model's order; layers with large weights but no rule are named."""
    for leaf in leaves(model):
        found = tuple(_kernels_of(leaf))
        yield from found
        if not found and any(len(weight.shape) > 1 for weight in leaf.layer.trainable_weights):
            yield NoKernel(leaf.layer.name, _reason(leaf.layer))


def _kernels_of(leaf: Leaf) -> Iterator[Kernel]:
    names = {id(variable): name for name, variable in leaf.weights().items()}
    for layer in sublayers(leaf.layer):
        for attribute in _ATTRIBUTES.get(type(layer), ()):
            variable = getattr(layer, attribute)
            if id(variable) not in names:
                # With LoRA, what a layer computes with is the sum of its kernel and two others.
                continue
            axes = _axes(layer, attribute, len(variable.shape))
            yield Kernel(names[id(variable)], leaf.layer.name, variable, axes)


def _axes(layer: keras.Layer, attribute: str, rank: int) -> Axes:
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_axes(layer.equation)
    if isinstance(layer, _TRANSPOSED):
        return *range(rank - 2), rank - 1
    if isinstance(layer, _DEPTHWISE) or attribute == "depthwise_kernel":
        return tuple(range(rank - 2))
    return tuple(range(rank - 1))


def _einsum_axes(equation: str) -> Axes:
    """`ab,bc->ac`: the kernel's letters that the output lacks are summed over."""
    operands, output = equation.split("->")
    letters = operands.split(",")[1]
    return tuple(axis for axis, letter in enumerate(letters) if letter not in output)


def _reason(layer: keras.Layer) -> str:
    if isinstance(layer, keras.layers.Embedding):
        return "an embedding table is looked up, not multiplied"
    if getattr(layer, "lora_enabled", False):
        return "with LoRA, its kernel is a sum of weights: train and save it without"
    return f"no rule for the weights of a {type(layer).__name__}"
