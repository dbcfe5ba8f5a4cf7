"""Takes layers with one input and one output out of a model's configuration.

A configuration is what `model.get_config()` returns. Its levels are a model and the models nested
in it; a path leads to a level (`""`, `"backbone/"`) and to a layer (`"backbone/bn1"`).
"""

from collections.abc import Mapping
from typing import Any

from app.recipes.keras_graph import is_model, layer_name

Config = dict[str, Any]


def without_layers(config: Config, bypassed: Mapping[str, str], level: str = "") -> Config:
    """The configuration without some layers: who read their output reads that of another layer.

    Args:
        config: of one level.
        bypassed: path of each layer to take out -> path of the layer of the same level that takes
            its place; both are called once.
        level: path of this level.
    """
    replaced = {
        path.removeprefix(level): by.removeprefix(level)
        for path, by in bypassed.items()
        if path.startswith(level) and "/" not in path.removeprefix(level)
    }
    layers = [
        _rewired(layer, replaced, bypassed, level)
        for layer in config["layers"]
        if layer_name(layer) not in replaced
    ]
    outputs = {key: _renamed(config[key], replaced) for key in ("output_layers",) if key in config}
    return {**config, "layers": layers, **outputs}


def _rewired(
    layer: Config, replaced: Mapping[str, str], bypassed: Mapping[str, str], level: str
) -> Config:
    changed = dict(layer)
    if "inbound_nodes" in layer:
        changed["inbound_nodes"] = _renamed(layer["inbound_nodes"], replaced)
    if is_model(layer):
        inner = f"{level}{layer_name(layer)}/"
        changed["config"] = without_layers(layer["config"], bypassed, inner)
    return changed


def _renamed(value: Any, replaced: Mapping[str, str]) -> Any:
    """Tensor references (`[layer, call, output]`) at any depth, led to the replacing layer."""
    if isinstance(value, dict):
        return {key: _renamed(item, replaced) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if _is_reference(value) and value[0] in replaced:
        return [replaced[value[0]], 0, 0]
    return [_renamed(item, replaced) for item in value]


def _is_reference(value: Any) -> bool:
    return len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], int)
