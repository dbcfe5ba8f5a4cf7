"""The graph in a Keras config: which layer call feeds which; Sequential and Functional alike."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Self

Config = Mapping[str, Any]
Shape = tuple[int | None, ...]

MODELS = frozenset({"Functional", "Sequential", "Model"})
MAX_DEPTH = 64
# Rounds to a range: what quantization leaves in a model, behind layers and in their activations.
FAKE_QUANT = "FakeQuantWithMinMaxVars"
SAME_SHAPE = frozenset(
    {
        FAKE_QUANT,
        "Activation",
        "ActivityRegularization",
        "Add",
        "AlphaDropout",
        "Average",
        "BatchNormalization",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "LayerNormalization",
        "LeakyReLU",
        "PReLU",
        "ReLU",
        "ELU",
        "Rescaling",
        "Sigmoid",
        "Softmax",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
    }
)


class Ref(NamedTuple):
    """One tensor: an output of the `node`-th call of a layer."""

    layer: str
    node: int
    output: int


def is_model(layer: Config) -> bool:
    return layer["class_name"] in MODELS and "layers" in layer["config"]


def layer_name(layer: Config) -> str:
    return str(layer.get("name") or layer["config"]["name"])


@dataclass(frozen=True)
class Graph:
    """One level of a model: nested models are layers of it."""

    layers: Mapping[str, Config]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    output_keys: tuple[str, ...] | None
    calls: Mapping[tuple[str, int], tuple[Ref, ...]]
    known_shapes: Mapping[Ref, Shape]
    # Sums of sums lead to the same tensor on many ways; each is gone once, known or not.
    _worked_out: dict[Ref, Shape | None] = field(default_factory=dict, compare=False, repr=False)
    _inner: dict[str, "Graph"] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, config: Config) -> Self:
        is_sequential = config["class_name"] == "Sequential"
        return cls._sequential(config["config"]) if is_sequential else cls._functional(config)

    @classmethod
    def _sequential(cls, body: Config) -> Self:
        listed = list(body["layers"])
        if not listed:
            raise ValueError("the model has no layers")
        chain = [Ref(layer_name(layer), 0, 0) for layer in listed]
        shapes = {
            before: shape
            for before, layer in zip(chain[:-1], listed[1:], strict=True)
            if (shape := _built_shape(layer))
        }
        if listed[0]["class_name"] != "InputLayer":
            chain.insert(0, Ref(f"{chain[0].layer}_input", 0, 0))
        if first := _first_shape(listed[0]) or _shape(body.get("build_input_shape")):
            shapes[chain[0]] = first
        return cls(
            layers={layer_name(layer): layer for layer in listed},
            inputs=(chain[0],),
            outputs=(chain[-1],),
            output_keys=None,
            calls={(ref.layer, 0): (before,) for before, ref in pairwise(chain)},
            known_shapes=shapes,
        )

    @classmethod
    def _functional(cls, config: Config) -> Self:
        body = config["config"]
        listed = list(body["layers"])
        calls: dict[tuple[str, int], tuple[Ref, ...]] = {}
        shapes: dict[Ref, Shape] = {}
        for layer in listed:
            name = layer_name(layer)
            if shape := _input_shape(layer):
                shapes[Ref(name, 0, 0)] = shape
            for node, call in enumerate(layer["inbound_nodes"], _first_node(layer)):
                fed = tuple(_tensors(call))
                calls[name, node] = tuple(ref for ref, _ in fed)
                shapes.update({ref: shape for ref, shape in fed if shape})
        ends, layers = body["output_layers"], {layer_name(layer): layer for layer in listed}
        return cls(
            layers=layers,
            inputs=tuple(_refs(body["input_layers"])),
            outputs=tuple(_ends(ends, layers)),
            output_keys=tuple(sorted(ends)) if isinstance(ends, dict) else None,
            calls=calls,
            known_shapes=shapes,
        )

    def feeds(self, ref: Ref) -> tuple[Ref, ...]:
        """The tensors given to the call that made this one; none for an input."""
        return self.calls.get((ref.layer, ref.node), ())

    def input_dtype(self, ref: Ref) -> str:
        layer = self.layers.get(ref.layer)
        dtype = layer["config"].get("dtype") if layer else None
        return dtype if isinstance(dtype, str) else "float32"

    def inner(self, name: str) -> "Graph":
        """Of a model that is a layer here; made once, however often it is called."""
        if name not in self._inner:
            self._inner[name] = Graph.of(self.layers[name])
        return self._inner[name]

    def shape(self, ref: Ref) -> Shape | None:
        """With its batch axis: as a later layer saw it, or worked out for simple layers."""
        pending = [] if ref in self._worked_out else [ref]
        while pending:
            current = pending[-1]
            before = [feed for feed in self._asked(current) if feed not in self._worked_out]
            if current in self._worked_out or not before:
                pending.pop()
                self._worked_out[current] = self._found_shape(current)
                continue
            # What leads back to itself finds this, and is not gone round again.
            self._worked_out[current] = None
            pending.extend(before)
        return self._worked_out[ref]

    def _asked(self, ref: Ref) -> tuple[Ref, ...]:
        """The tensors whose shapes that of this one is worked out from."""
        layer = self.layers.get(ref.layer)
        if ref in self.known_shapes or layer is None or is_model(layer):
            return ()
        feeds = self.feeds(ref)
        return feeds if layer["class_name"] in SAME_SHAPE else feeds[:1]

    def _found_shape(self, ref: Ref) -> Shape | None:
        """From what it is fed, all of which was worked out."""
        feeds = self.feeds(ref)
        if ref in self.known_shapes or not feeds:
            return self.known_shapes.get(ref)
        layer = self.layers[ref.layer]
        if is_model(layer):
            inner = self.inner(ref.layer)
            return inner.shape(inner.outputs[ref.output])
        fed = self._worked_out.get(feeds[0]) or _built_shape(layer)
        if fed is None:
            return None
        # What merges several may widen the first to the size of another.
        is_merge = layer["class_name"] in SAME_SHAPE
        if is_merge and any(self._worked_out.get(other) != fed for other in feeds[1:]):
            return None
        return _shape_after(layer, fed)


def _shape_after(layer: Config, fed: Shape) -> Shape | None:
    kind, config = layer["class_name"], layer["config"]
    if kind in SAME_SHAPE:
        return fed
    if kind == "Dense":
        return (*fed[:-1], int(config["units"]))
    if kind == "Reshape":
        # The operation of that name counts the batch axis, the layer does not.
        wanted = config["target_shape"] if "target_shape" in config else config["newshape"][1:]
        return (fed[0], *(None if axis in (-1, None) else int(axis) for axis in wanted))
    if kind == "Flatten":
        inner = [axis for axis in fed[1:] if axis is not None]
        return (fed[0], math.prod(inner) if len(inner) == len(fed) - 1 else None)
    if kind in ("LSTM", "GRU", "SimpleRNN") and len(fed) > 1:
        steps = fed[1:2] if config.get("return_sequences") else ()
        return (fed[0], *steps, int(config["units"]))
    return None


def _input_shape(layer: Config) -> Shape | None:
    config = layer["config"]
    return _shape(config.get("batch_shape") or config.get("batch_input_shape"))


def _first_node(layer: Config) -> int:
    """The number of the first call written.

    In Keras 2 a nested model has a call before, its own making, which is not written.
    """
    return 1 if is_model(layer) and not _is_keras_3(layer) else 0


def _ends(ends: Any, layers: Mapping[str, Config]) -> Iterator[Ref]:
    """The outputs of a model.

    Keras 3 counts the making of a nested Functional here alone, not where layers take its outputs.
    """
    for ref in _refs(ends):
        layer = layers.get(ref.layer)
        is_made_before = (
            layer is not None
            and is_model(layer)
            and layer["class_name"] != "Sequential"
            and _is_keras_3(layer)
        )
        yield ref._replace(node=ref.node - 1) if is_made_before else ref


def _is_keras_3(layer: Config) -> bool:
    """Whether its calls are written as Keras 3 does."""
    return any(isinstance(call, dict) for call in layer["inbound_nodes"])


def _first_shape(layer: Config) -> Shape | None:
    """What a Sequential takes, from its first layer: an InputLayer, a plain one, or a model."""
    if is_model(layer):
        inner = Graph.of(layer)
        return inner.shape(inner.inputs[0])
    return _input_shape(layer) or _built_shape(layer)


def _built_shape(layer: Config) -> Shape | None:
    return _shape((layer.get("build_config") or {}).get("input_shape"))


def _shape(value: object) -> Shape | None:
    """A shape as JSON has it; None for what is none, as the list of shapes of a merge."""
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(axis is None or (type(axis) is int and axis >= 0) for axis in value):
        return None
    return tuple(value)


def _refs(value: Any) -> Iterator[Ref]:
    """Tensor references in Keras' order: `["name", node, index]` in any nesting."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _refs(value[key])
    elif isinstance(value, list | tuple):
        if value and isinstance(value[0], str):
            yield Ref(value[0], int(value[1]), int(value[2]))
        else:
            for item in value:
                yield from _refs(item)


def _tensors(call: Any) -> Iterator[tuple[Ref, Shape | None]]:
    """What a layer call was given: Keras 3 writes tensors as objects, Keras 2 as references."""
    if isinstance(call, dict):
        if call.get("class_name") == "__keras_tensor__":
            config = call["config"]
            yield Ref(*config["keras_history"]), _shape(config.get("shape"))
        else:
            for key in call:
                yield from _tensors(call[key])
    elif isinstance(call, list | tuple):
        if len(call) > 2 and isinstance(call[0], str) and type(call[1]) is int:
            yield Ref(call[0], call[1], int(call[2])), None
        else:
            for item in call:
                yield from _tensors(item)
