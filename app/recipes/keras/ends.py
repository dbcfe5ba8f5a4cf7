"""How an output of a Keras model ends: softmax, sigmoid, linear, or not surely any of these; pure.

The walk goes back from the output through layers that keep what an activation promises, up to the
layer that makes the promise. A step it cannot vouch for ends it with "other": a wrong answer here
would measure logits as probabilities.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from app.recipes.facts import Activation
from app.recipes.keras.graph import FAKE_QUANT, MAX_DEPTH, Config, Graph, Ref, is_model


class End(NamedTuple):
    """The activation, and the width of the last axis it runs over."""

    activation: Activation
    units: int | None


# Layers with weights, linear but for their `activation`.
WEIGHTED = frozenset(
    {
        "Dense",
        "EinsumDense",
        "Conv1D",
        "Conv2D",
        "Conv3D",
        "Conv1DTranspose",
        "Conv2DTranspose",
        "Conv3DTranspose",
        "SeparableConv1D",
        "SeparableConv2D",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
    }
)
# Identities at inference, and choices or averages of positions: each channel stays what it was.
KEEPING = frozenset(
    {
        FAKE_QUANT,
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "UpSampling1D",
        "UpSampling2D",
        "UpSampling3D",
    }
)
# Linear maps of linear things; of probabilities they make something else.
AFFINE = frozenset(
    {"Add", "BatchNormalization", "Concatenate", "Normalization", "Rescaling", "Subtract"}
)
MERGING = AFFINE | {"Average"}
RESHAPING = frozenset({"Flatten", "Reshape"})
LOOKING_BACK = KEEPING | MERGING | RESHAPING | {"Activation", "Sigmoid", "Softmax"}
# A log_softmax only moves all logits of a row by one number, which no softmax sees.
PROMISES: dict[str, Activation] = {
    "softmax": "softmax",
    "sigmoid": "sigmoid",
    "linear": "linear",
    "log_softmax": "linear",
}
OTHER = End("other", None)


def ends_of(graph: Graph, refs: Iterable[Ref]) -> list[End]:
    """The ends of tensors of a graph. Their `units` are the tensors' last axes, if known."""
    walk = _Walk(graph)
    return [walk.end(ref, 0) for ref in refs]


class _Walk:
    """A walk back from tensors; each tensor is visited once, however often it is used."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.seen: dict[Ref, End] = {}
        self.inner: dict[str, _Walk] = {}

    def end(self, ref: Ref, depth: int) -> End:
        if ref not in self.seen:
            found = OTHER if depth > MAX_DEPTH else self._end(ref, depth)
            shape = self.graph.shape(ref)
            width = shape[-1] if shape else None
            self.seen[ref] = End(found.activation, width or found.units)
        return self.seen[ref]

    def _end(self, ref: Ref, depth: int) -> End:
        layer = self.graph.layers.get(ref.layer)
        feeds = self.graph.feeds(ref)
        if layer is None or not feeds:
            return OTHER
        if is_model(layer):
            return self._end_inside(ref)
        kind = layer["class_name"]
        looked_at = feeds if kind in LOOKING_BACK else ()
        before = [self.end(feed, depth + 1) for feed in looked_at]
        if kind in RESHAPING:
            return self._reshaped(ref, before[0])
        if kind in MERGING:
            return _merged(kind, before)
        return _end_of_layer(layer, before[0] if before else OTHER)

    def _end_inside(self, ref: Ref) -> End:
        """Of a nested model's output."""
        if ref.layer not in self.inner:
            self.inner[ref.layer] = _Walk(self.graph.inner(ref.layer))
        inside = self.inner[ref.layer]
        return inside.end(inside.graph.outputs[ref.output], 0)

    def _reshaped(self, ref: Ref, before: End) -> End:
        """Softmax sums to one over the last axis: only where that axis stays does it still."""
        shape = self.graph.shape(ref)
        width = shape[-1] if shape else None
        if before.activation == "softmax" and (width is None or width != before.units):
            return OTHER
        return End(before.activation, width)


def _end_of_layer(layer: Config, before: End) -> End:
    kind, config = layer["class_name"], layer["config"]
    is_channels_first = config.get("data_format") == "channels_first"
    if kind == "TimeDistributed":
        return _end_of_wrapped(config["layer"])
    if kind in WEIGHTED:
        activation = promise_of(config.get("activation"))
        units = None if is_channels_first else config.get("units") or config.get("filters")
        return _unless_channels_first(End(activation, units), is_channels_first)
    if kind in KEEPING:
        return _unless_channels_first(before, is_channels_first)
    if kind == "Activation":
        if _name_of(config.get("activation")) in (None, "linear"):
            return before
        return End(promise_of(config.get("activation")), before.units)
    if kind == "Softmax":
        return End("softmax" if config.get("axis", -1) in (-1, [-1]) else "other", before.units)
    if kind == "Sigmoid":
        return End("sigmoid", before.units)
    return OTHER


def _end_of_wrapped(layer: Config) -> End:
    """Of the layer in a TimeDistributed: it runs on each step alone, so its end is the whole's."""
    if not is_model(layer):
        return _end_of_layer(layer, OTHER)
    inner = Graph.of(layer)
    return ends_of(inner, inner.outputs[:1])[0]


def _unless_channels_first(end: End, is_channels_first: bool) -> End:
    """A softmax runs over the last axis, which holds no classes where channels come first."""
    return OTHER if is_channels_first and end.activation == "softmax" else end


def _merged(kind: str, ends: Sequence[End]) -> End:
    """The mean of distributions is one; otherwise only linear things stay what they are."""
    kinds = {end.activation for end in ends}
    is_kept = kinds == {"linear"} or (kinds == {"sigmoid"} and kind == "Concatenate")
    is_kept = is_kept or (len(kinds) == 1 and kind == "Average")
    units = None if kind == "Concatenate" else ends[0].units
    return End(ends[0].activation if is_kept else "other", units)


def _name_of(activation: Any) -> Any:
    """Of a function, whether written by its name or as an object; anything else as it is."""
    if isinstance(activation, dict) and activation["class_name"] == "function":
        return activation["config"]
    return activation


def promise_of(activation: Any) -> Activation:
    """A layer's `activation`: a name, a function object, or an activation layer; None is linear."""
    if activation is None:
        return "linear"
    name = _name_of(activation)
    if isinstance(name, str):
        return PROMISES.get(name, "other")
    if is_model(activation):
        return _promise_of_model(activation)
    if activation["class_name"] == "Softmax" and activation["config"].get("axis", -1) == -1:
        return "softmax"
    return "other"


def _promise_of_model(activation: Config) -> Activation:
    """Of an activation with ranges around it; of any other model it is not known."""
    inner = [
        layer
        for layer in activation["config"]["layers"]
        if layer["class_name"] not in ("InputLayer", FAKE_QUANT)
    ]
    if len(inner) > 1 or (inner and is_model(inner[0])):
        return "other"
    return promise_of(inner[0]["config"].get("activation")) if inner else "linear"
