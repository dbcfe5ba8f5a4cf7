"""What each kernel of a Keras model is multiplied with, read off what its layer is given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from worker.engine.quantizing.weights.layouts import (
    Layout,
    Window,
    dense_layout,
    depthwise_layout,
    grouped_layout,
    patches,
    tapwise_layout,
)
from worker.engine.surgery.weights import Leaf, leaves

Array = NDArray[Any]
layers = keras.layers

CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)

SUMS_DIFFER = "places of a transposed convolution sum different numbers of products"
INNER_HALF = "the bias of a separable convolution comes after its pointwise half"
OTHER_AXES = "its bias lies along other axes than the outputs of its kernel"


@dataclass(frozen=True)
class Route:
    """From the tensors that a layer is given to the one that a kernel of it reads.

    argument: which tensor. is_timewise: each step of a row is a row of its own. through: a
    separable convolution whose depthwise half comes before.
    """

    argument: int = 0
    is_timewise: bool = False
    through: Any = None

    def read(self, given: Sequence[Any]) -> Array:
        tensor = given[min(self.argument, len(given) - 1)]
        if self.is_timewise:
            tensor = keras.ops.reshape(tensor, (-1, *tensor.shape[2:]))
        if self.through is not None:
            tensor = _depthwise_half(self.through, tensor)
        return np.asarray(tensor)


@dataclass(frozen=True)
class Rows:
    """The last axis is what a vector lies along, as for dense and transposed layers."""

    layout: Layout
    is_channels_first: bool = False

    def vectors(self, given: Array, limit: int, rng: np.random.Generator) -> Array:
        """[1, at most `limit` samples, inputs]."""
        moved = np.moveaxis(given, 1, -1) if self.is_channels_first else given
        flat = moved.reshape(-1, moved.shape[-1])
        return flat[_chosen(len(flat), limit, rng)][np.newaxis]


@dataclass(frozen=True)
class Windows:
    """A convolution; `groups` of 0 = depthwise, each channel by itself."""

    layout: Layout
    window: Window
    groups: int
    is_channels_first: bool

    def vectors(self, given: Array, limit: int, rng: np.random.Generator) -> Array:
        """[groups, at most `limit` samples, inputs]."""
        moved = np.moveaxis(given, 1, -1) if self.is_channels_first else given
        lengths = self.window.output_lengths(moved.shape[1:-1])
        places = _chosen(len(moved) * int(np.prod(lengths)), limit, rng)
        seen = patches(moved, self.window, places)
        channels = seen.shape[-1]
        groups = self.groups or channels
        split = seen.reshape(*seen.shape[:-1], groups, channels // groups)
        by_group = np.moveaxis(split, -2, 0)
        return by_group.reshape(groups, len(places), -1)


@dataclass(frozen=True)
class Einsum:
    """`abc,cd->abd`: letters of the kernel that the output lacks lie along a vector."""

    layout: Layout
    given_letters: str
    kernel_letters: str

    def vectors(self, given: Array, limit: int, rng: np.random.Generator) -> Array:
        """[groups, at most `limit` samples, inputs]."""
        before, _, after = self.given_letters.partition("...")
        ends = {letter: axis - len(after) for axis, letter in enumerate(after)}
        axes = {letter: axis for axis, letter in enumerate(before)} | ends
        groups, inputs = (
            [axes[self.kernel_letters[axis]] % given.ndim for axis in part]
            for part in (self.layout.groups, self.layout.inputs)
        )
        free = [axis for axis in range(given.ndim) if axis not in (*groups, *inputs)]
        sizes = [int(np.prod([given.shape[axis] for axis in part])) for part in (groups, free)]
        flat = given.transpose(*groups, *free, *inputs).reshape(*sizes, -1)
        return flat[:, _chosen(sizes[1], limit, rng)]


@dataclass(frozen=True)
class View:
    """How one kernel sees what its layer is given. `layer` holds the kernel, be it wrapped.

    `bias` is what is added to its outputs, in their order; None where there is none, which is
    because of `without_bias`.
    """

    layer: keras.Layer
    route: Route
    kind: Rows | Windows | Einsum
    bias: keras.Variable | None
    without_bias: str = "it has no bias; batch_norm_folding before gives it that of a normalization"

    @property
    def layout(self) -> Layout:
        return self.kind.layout

    def vectors(self, given: Sequence[Any], limit: int, seed: Sequence[int]) -> Array:
        """[groups or 1, samples, inputs]; the same seed chooses the same samples."""
        return self.kind.vectors(self.route.read(given), limit, np.random.default_rng(seed))


def views(model: keras.Model) -> dict[str, tuple[keras.Layer, View]]:
    """By stable weight name: the layer that is called, and how the kernel sees what it is given.

    Kernels that are not named are in layers that hide what they multiply: recurrent ones, or the
    inside of an attention.
    """
    found: dict[str, tuple[keras.Layer, View]] = {}
    for leaf in leaves(model):
        names = {id(variable): name for name, variable in leaf.weights().items()}
        for kernel, view in _views_of(leaf):
            found[names[id(kernel)]] = leaf.layer, view
    return found


def _views_of(leaf: Leaf) -> Iterator[tuple[keras.Variable, View]]:
    layer = leaf.layer
    if isinstance(layer, layers.TimeDistributed):
        yield from _plain(layer.layer, Route(is_timewise=True))
    elif isinstance(layer, layers.MultiHeadAttention):
        # Keys are read off the values where none are given.
        projections = (layer.query_dense, layer.value_dense, layer.key_dense)
        for argument, projection in enumerate(projections):
            yield from _plain(projection, Route(argument=argument))
    else:
        yield from _plain(layer, Route())


def _plain(layer: Any, route: Route) -> Iterator[tuple[keras.Variable, View]]:
    kind = type(layer)
    if kind is layers.Dense:
        yield layer.kernel, View(layer, route, Rows(dense_layout(layer.kernel.shape)), layer.bias)
    elif kind is layers.EinsumDense:
        yield from _einsum(layer, route)
    elif kind in CONVOLUTIONS:
        layout = grouped_layout(layer.kernel.shape, layer.groups)
        yield layer.kernel, View(layer, route, _windows(layer, layout, layer.groups), layer.bias)
    elif kind in DEPTHWISE:
        windows = _windows(layer, depthwise_layout(layer.kernel.shape), 0)
        yield layer.kernel, View(layer, route, windows, layer.bias)
    elif kind in SEPARABLE:
        yield from _separable(layer, route)
    elif kind in TRANSPOSED:
        rows = Rows(tapwise_layout(layer.kernel.shape), _is_channels_first(layer))
        yield layer.kernel, View(layer, route, rows, None, SUMS_DIFFER)


def _separable(layer: Any, route: Route) -> Iterator[tuple[keras.Variable, View]]:
    windows = _windows(layer, depthwise_layout(layer.depthwise_kernel.shape), 0)
    yield layer.depthwise_kernel, View(layer, route, windows, None, INNER_HALF)
    rows = Rows(dense_layout(layer.pointwise_kernel.shape), _is_channels_first(layer))
    inner = Route(route.argument, route.is_timewise, through=layer)
    yield layer.pointwise_kernel, View(layer, inner, rows, layer.bias)


def _einsum(layer: Any, route: Route) -> Iterator[tuple[keras.Variable, View]]:
    """Nothing where axes of the input, or of the kernel alone, are summed as well."""
    operands, output = layer.equation.replace(" ", "").split("->")
    given, kernel = operands.split(",")
    places: Mapping[tuple[bool, bool], list[int]] = {
        (True, True): [], (True, False): [], (False, True): [], (False, False): [],
    }  # fmt: skip
    for axis, letter in enumerate(kernel):
        places[letter in given, letter in output].append(axis)
    is_given_summed = any(letter not in kernel + output for letter in given)
    if places[False, False] or is_given_summed or "..." in kernel:
        return
    parts = (places[True, True], places[True, False], places[False, True])
    layout = Layout(tuple(layer.kernel.shape), *(tuple(part) for part in parts))
    einsum = Einsum(layout, given, kernel)
    outputs = "".join(kernel[axis] for axis in layout.outputs)
    if layer.bias is not None and (layout.groups or layer.bias_axes != outputs):
        yield layer.kernel, View(layer, route, einsum, None, OTHER_AXES)
    else:
        yield layer.kernel, View(layer, route, einsum, layer.bias)


def _windows(layer: Any, layout: Layout, groups: int) -> Windows:
    window = Window(layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
    return Windows(layout, window, groups, _is_channels_first(layer))


def _is_channels_first(layer: Any) -> bool:
    return bool(layer.data_format == "channels_first")


def _depthwise_half(layer: Any, tensor: Any) -> Any:
    return keras.ops.depthwise_conv(
        tensor,
        layer.depthwise_kernel,
        strides=layer.strides,
        padding=layer.padding,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
    )


def _chosen(count: int, limit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Positions in order: all, or `limit` of them by chance."""
    if count <= limit:
        return np.arange(count)
    return np.sort(rng.choice(count, limit, replace=False))
