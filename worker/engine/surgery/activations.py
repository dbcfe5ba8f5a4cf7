"""Finds the activations of a model's layers, and rebuilds the model with others in their place.

An activation is a layer, a layer's `activation`, or a bare operation of keras.ops. All of it is
read from and written to the model's configuration, level by level; paths are those of
`surgery/weights.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from app.recipes.activations import canonical
from app.recipes.keras.ends import KEEPING, RESHAPING, WEIGHTED
from app.recipes.keras.graph import Ref, is_model, layer_name
from worker.engine.surgery.weights import assign_weights, named_weights
from worker.engine.surgery.wiring import Level, Structure

Config = dict[str, Any]

# Bare operations of keras.ops, by class.
OPERATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Selu": "selu",
    "Celu": "celu",
    "Gelu": "gelu",
    "Silu": "silu",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "Tanh": "tanh",
    "HardTanh": "hard_tanh",
    "HardSilu": "hard_silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
LAYERS = {"LeakyReLU": "leaky_relu", "ELU": "elu", "PReLU": "prelu", "Softmax": "softmax"}
# What ReLU(max_value, negative_slope, threshold) is called; a slope alone makes it leaky.
RELUS = {(None, 0.0, 0.0): "relu", (6.0, 0.0, 0.0): "relu6"}
SWAPPABLE = WEIGHTED | {"SimpleRNN", "SimpleRNNCell"}
CELLS = frozenset({"LSTM", "LSTMCell", "GRU", "GRUCell", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})
PARTS = ("layer", "backward_layer", "cell", "cells")
ACROSS = frozenset({"softmax", "log_softmax", "sparsemax", "sparse_softmax", "glu"})
# An activation before these is still that of the output.
LOOKED_THROUGH = KEEPING | RESHAPING | {"Average", "Concatenate"}


@dataclass(frozen=True)
class FoundActivation:
    """One activation. `obstacle` says why it has to stay.

    `path` leads to its layer, `layer` is the layer's own name.
    """

    path: str
    layer: str
    name: str
    obstacle: str | None


def activations(model: keras.Model) -> tuple[FoundActivation, ...]:
    """Every activation but linear ones, in the model's order."""
    return tuple(_found(model.get_config(), "", _ends(model)))


def activation_name(layer: keras.Layer) -> str:
    """What a layer, apart from what it wraps, does to single values; "linear" if nothing."""
    kind = type(layer)
    return _name(
        {"class_name": kind.__name__, "module": kind.__module__, "config": layer.get_config()}
    )


def with_activations(model: keras.Model, targets: Mapping[str, str]) -> keras.Model:
    """The model with other activations, by path of their layer; names and weights stay.

    A layer with slopes of its own (PReLU) loses them.
    """
    changed = type(model).from_config(_replaced(model.get_config(), "", targets))
    values = {name: weight.numpy() for name, weight in named_weights(model).items()}
    assign_weights(changed, {name: values[name] for name in named_weights(changed)})
    return changed


def _found(config: Config, level: str, ends: frozenset[str]) -> Iterator[FoundActivation]:
    for layer in config["layers"]:
        path = f"{level}{layer_name(layer)}"
        if is_model(layer):
            yield from _found(layer["config"], f"{path}/", ends)
            continue
        names = {name for part in _parts(layer) if (name := _name(part)) != "linear"}
        if names:
            obstacle = _obstacle(layer, names, is_end=path in ends)
            yield FoundActivation(path, layer_name(layer), " and ".join(sorted(names)), obstacle)


def _obstacle(layer: Config, names: set[str], *, is_end: bool) -> str | None:
    kinds = {part["class_name"] for part in _parts(layer)}
    if is_end:
        return "it makes an output of the model"
    if across := names & ACROSS:
        named = " and ".join(sorted(across))
        return f"{named} normalizes across an axis; no function of single values can"
    if kinds & CELLS:
        return "the cell's state is made for its own activation"
    if any(is_model(part) for part in _parts(layer)):
        return "it wraps a whole model"
    return None


def _parts(layer: Config) -> Iterator[Config]:
    """The layer and all it wraps: halves, cells."""
    yield layer
    for key in PARTS:
        inner = layer["config"].get(key) or ()
        for part in inner if isinstance(inner, list | tuple) else (inner,):
            yield from _parts(part)


def _name(layer: Config) -> str:
    """What the layer, apart from what it wraps, does to single values; "linear" if nothing."""
    kind, config = layer["class_name"], layer["config"]
    if kind == "ReLU":
        return _relu_name(config)
    if kind in LAYERS:
        return LAYERS[kind]
    if kind in OPERATIONS and _is_operation(layer):
        return OPERATIONS[kind]
    if kind == "Activation" or kind in SWAPPABLE | CELLS:
        return _name_of_value(config.get("activation"))
    return "linear"


def _is_operation(layer: Config) -> bool:
    return str(layer.get("module")).startswith("keras.src.ops")


def _relu_name(config: Config) -> str:
    parameters = (config["max_value"], config["negative_slope"], config["threshold"])
    if parameters[0] is None and parameters[1] > 0 and parameters[2] == 0:
        return "leaky_relu"
    return RELUS.get(parameters, "relu with limits of its own")


def _name_of_value(activation: Any) -> str:
    """An `activation`: a name, a function, or a layer."""
    if activation is None:
        return "linear"
    if isinstance(activation, str):
        return canonical(activation)
    if activation["class_name"] == "function":
        return canonical(str(activation["config"]))
    if is_model(activation):
        # Fake quantization around an activation (quantizing/fake_quant.py).
        inside = (_name(layer) for layer in activation["config"]["layers"])
        return next((name for name in inside if name != "linear"), "linear")
    return _name(activation)


def _replaced(config: Config, level: str, targets: Mapping[str, str]) -> Config:
    layers = []
    for layer in config["layers"]:
        path = f"{level}{layer_name(layer)}"
        if is_model(layer):
            layers.append({**layer, "config": _replaced(layer["config"], f"{path}/", targets)})
        else:
            layers.append(_with(layer, targets[path]) if path in targets else layer)
    return {**config, "layers": layers}


def _with(layer: Config, target: str) -> Config:
    kind, config = layer["class_name"], layer["config"]
    if kind in LAYERS or kind in ("ReLU", "Activation") or _is_operation(layer):
        return _activation_layer(layer, target)
    changed = dict(config)
    for key in PARTS:
        inner = config.get(key)
        if isinstance(inner, list | tuple):
            changed[key] = [_with(part, target) for part in inner]
        elif inner:
            changed[key] = _with(inner, target)
    if kind in SWAPPABLE and _name(layer) != "linear":
        changed["activation"] = target
    return {**layer, "config": changed}


def _activation_layer(layer: Config, target: str) -> Config:
    """A layer of the same name, called as the given one is."""
    kept = {key: layer["config"][key] for key in ("trainable", "dtype") if key in layer["config"]}
    return {
        **layer,
        "module": "keras.layers",
        "class_name": "Activation",
        "config": {**kept, "name": layer_name(layer), "activation": target},
        "registered_name": None,
    }


def _ends(model: keras.Model) -> frozenset[str]:
    """Paths of the layers whose activation is that of an output of the model."""
    levels = {level.path: level for level in Structure.of(model).levels}
    found: set[str] = set()
    waiting = [("", ref) for ref in levels[""].wiring.outputs]
    seen: set[tuple[str, Ref]] = set()
    while waiting:
        path, ref = waiting.pop()
        if (path, ref) in seen:
            continue
        seen.add((path, ref))
        inner = levels.get(f"{path}{ref.layer}/")
        if inner is not None:
            waiting.append((inner.path, inner.wiring.outputs[ref.output]))
        else:
            found.add(f"{path}{ref.layer}")
            waiting += [(path, fed) for fed in _looked_through(levels[path], ref)]
    return frozenset(found)


def _looked_through(level: Level, ref: Ref) -> tuple[Ref, ...]:
    """What is given to a layer that keeps what an activation made of it."""
    operation = level.operations[ref.layer]
    is_linear = getattr(operation, "activation", None) is keras.activations.linear
    is_kept = type(operation).__name__ in LOOKED_THROUGH or (
        isinstance(operation, keras.layers.Activation) and is_linear
    )
    return level.wiring.calls.get((ref.layer, ref.node), ()) if is_kept else ()
