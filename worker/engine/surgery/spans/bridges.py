"""Projections that take the place of spans whose exit has another shape than their entry."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.recipes.facts import shape_text
from worker.engine.surgery.spans.finding import Span
from worker.engine.surgery.spans.kinds import effect_of
from worker.engine.surgery.spans.removal import Bridge

layers = keras.layers
FloatArray = NDArray[np.floating[Any]]

# Of the mean variance of the inputs: enough where channels are constant or copies of each other.
RIDGE = 1e-8

_CONVOLUTIONS = {3: layers.Conv1D, 4: layers.Conv2D, 5: layers.Conv3D}
_POOLINGS = {
    3: layers.AveragePooling1D,
    4: layers.AveragePooling2D,
    5: layers.AveragePooling3D,
}
# They bring an approximation nearer to their own results, so it is fitted to these.
_CLIPPING = ("relu", "relu6")


@dataclass(frozen=True)
class Projection:
    """An affine map of the last axis, fitted; kernel [in, out], bias [out].

    `residual` is the root of the share of the variance that it leaves: 0 = exact, 1 = no use.
    """

    kernel: FloatArray
    bias: FloatArray
    residual: float


@dataclass(frozen=True)
class Plan:
    """How a span may be bridged: `layers` one after another, of which the last projects.

    Lengths shrink by the strides of a 1x1 convolution where these alone give the exit's, as in the
    shortcuts of residual networks (He et al. 2015, arXiv:1512.03385, section 3.3), otherwise by
    average pooling.
    """

    span: Span
    layers: tuple[keras.layers.Layer, ...]

    def aligned(self, entry: Any) -> Any:
        """The entry with one position for each of the exit's: what the projection reads."""
        for layer in self.layers[:-1]:
            entry = layer(entry)
        strides = getattr(self.layers[-1], "strides", ())
        return entry[(slice(None), *(slice(None, None, stride) for stride in strides))]

    def bridge(self, kernel: FloatArray, bias: FloatArray) -> Bridge:
        """The layers with these weights, [in, out] and [out]."""
        shape = self.span.entry_shape
        for layer in self.layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        last = self.layers[-1]
        kernel = kernel.reshape(last.kernel.shape)
        last.set_weights([kernel, bias])
        path = f"{self.span.level}{last.name}"
        weights = {f"{path}/kernel": kernel, f"{path}/bias": bias}
        return Bridge(self.layers, weights)


def plan_of(span: Span, last: Any) -> Plan | str:
    """How to bridge a span that ends in the operation `last`, or why it is not to be bridged."""
    before, after = span.entry_shape[1:], span.exit_shape[1:]
    change = f"{shape_text(before)} to {shape_text(after)}"
    if not span.is_same_type or len(before) != len(after) or len(before) not in (1, 2, 3, 4):
        return f"no projection leads from {change}"
    widths, lengths = (before[-1], after[-1]), tuple(zip(before[:-1], after[:-1], strict=True))
    is_known = span.keeps_open and all(h == o for h, o in lengths if None in (h, o))
    if None in widths or not is_known:
        return f"lengths are left open from {change}"
    if any(h is not None and o is not None and o > h for h, o in lengths):
        return f"it enlarges {change}"
    if getattr(last, "data_format", "channels_last") != "channels_last":
        return "it keeps channels first"
    cost = math.prod(width or 0 for width in widths) + (after[-1] or 0)
    if cost >= span.parameter_count:
        return (
            f"nothing would be saved: it has {span.parameter_count} weights, and a projection from "
            f"{change} in its place would have {cost}"
        )
    return Plan(span, tuple(_layers(span, last)))


def fitted(inputs: FloatArray, outputs: FloatArray) -> Projection:
    """The projection with the least squared error, inputs [n, in] -> outputs [n, out].

    Minimizes |x k + b - y|^2 + r |k|^2 (Hoerl & Kennard 1970) as one least-squares problem of the
    centered data and sqrt(r) I, which is better conditioned than the normal equations.
    """
    x, y = inputs.astype(np.float64), outputs.astype(np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    width = x.shape[1]
    weight = math.sqrt(RIDGE * max(float(np.square(x).sum()) / width, 1e-30))
    kernel, *_ = np.linalg.lstsq(
        np.concatenate([x, weight * np.eye(width)]),
        np.concatenate([y, np.zeros((width, y.shape[1]))]),
        rcond=None,
    )
    spread = float(np.linalg.norm(y))
    left = float(np.linalg.norm(x @ kernel - y))
    return Projection(kernel, y_mean - x_mean @ kernel, left / spread if spread else 0.0)


def _layers(span: Span, last: Any) -> Sequence[keras.layers.Layer]:
    """The layers of a bridge: pooling where strides do not do, then a projection."""
    lengths = list(zip(span.entry_shape[1:-1], span.exit_shape[1:-1], strict=True))
    units, rank = span.exit_shape[-1], len(span.exit_shape)
    effect = effect_of(last)
    common: Mapping[str, Any] = {
        "name": f"{span.name.removeprefix(span.level)}_bridge",
        "activation": effect if effect in _CLIPPING else None,
        "dtype": getattr(last, "dtype_policy", None),
    }
    is_same = all(h == o for h, o in lengths)
    if is_same and rank < 4:
        return (layers.Dense(units, **common),)
    strides = tuple(1 if h is None or o is None else -(-h // o) for h, o in lengths)
    if all(h is None or -(-h // s) == o for (h, o), s in zip(lengths, strides, strict=True)):
        return (_CONVOLUTIONS[rank](units, 1, strides=strides, **common),)
    # Windows of h - (o - 1) s, s apart, give o of h exactly.
    strides = tuple(1 if h is None or o is None else h // o for h, o in lengths)
    windows = tuple(
        1 if h is None or o is None else h - (o - 1) * s
        for (h, o), s in zip(lengths, strides, strict=True)
    )
    name = f"{common['name']}_pool"
    pool = _POOLINGS[rank](windows, strides=strides, name=name, dtype=common["dtype"])
    return (pool, _CONVOLUTIONS[rank](units, 1, **common))
