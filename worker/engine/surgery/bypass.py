"""Takes layers out of a model's configuration and leads their readers to other tensors.

A configuration is what `model.get_config()` returns. Its levels are a model and the models nested
in it; a path leads to a level (`""`, `"backbone/"`) and to a layer (`"backbone/bn1"`).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.recipes.keras.graph import Ref, is_model, layer_name

Config = dict[str, Any]


@dataclass(frozen=True)
class Edit:
    """What changes in one level.

    added: name of a removed layer -> configurations of the layers put in its place, with their
    calls. redirected: tensor -> the one that its readers are to read.
    """

    removed: frozenset[str]
    redirected: Mapping[Ref, Ref]
    added: Mapping[str, tuple[Config, ...]] = field(default_factory=dict)


NOTHING = Edit(frozenset(), {})


def edited(config: Config, edits: Mapping[str, Edit], level: str = "") -> Config:
    """The configuration of a level with what changes in it, and in the levels nested in it.

    edits: by path of the level. Layers that are removed or redirected to are called once.
    """
    edit = edits.get(level, NOTHING)
    is_sequence = "output_layers" not in config
    layers: list[Config] = []
    for layer in config["layers"]:
        name = layer_name(layer)
        added = edit.added.get(name, ())
        layers += [_in_a_sequence(new) for new in added] if is_sequence else added
        if name not in edit.removed:
            layers.append(_rewired(layer, edits, level))
    ends = {} if is_sequence else {"output_layers": _led(config["output_layers"], edit.redirected)}
    return {**config, "layers": layers, **ends}


def without_layers(config: Config, bypassed: Mapping[str, str]) -> Config:
    """The configuration without some layers: who read their output reads that of another layer.

    bypassed: path of each layer to take out -> path of the layer of the same level that takes its
    place; both are called once and have one output.
    """
    by_level: dict[str, dict[str, str]] = defaultdict(dict)
    for path, other in bypassed.items():
        level, name = _split(path)
        by_level[level][name] = _split(other)[1]
    edits = {
        level: Edit(
            frozenset(names), {Ref(name, 0, 0): Ref(by, 0, 0) for name, by in names.items()}
        )
        for level, names in by_level.items()
    }
    return edited(config, edits)


def _split(path: str) -> tuple[str, str]:
    """A layer's path as that of its level and its name."""
    level, slash, name = path.rpartition("/")
    return f"{level}{slash}", name


def _rewired(layer: Config, edits: Mapping[str, Edit], level: str) -> Config:
    changed = dict(layer)
    if "inbound_nodes" in layer:
        redirected = edits.get(level, NOTHING).redirected
        changed["inbound_nodes"] = _led(layer["inbound_nodes"], redirected)
    if is_model(layer):
        changed["config"] = edited(layer["config"], edits, f"{level}{layer_name(layer)}/")
    return changed


def _in_a_sequence(layer: Config) -> Config:
    """A sequence needs no calls: each layer is given what the one before it makes."""
    return {key: value for key, value in layer.items() if key not in ("name", "inbound_nodes")}


def _led(value: Any, redirected: Mapping[Ref, Ref]) -> Any:
    """Tensor references (`[layer, call, output]`) at any depth, led to other tensors."""
    if isinstance(value, dict):
        return {key: _led(item, redirected) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if _is_reference(value):
        return list(redirected.get(Ref(*value), Ref(*value)))
    return [_led(item, redirected) for item in value]


def _is_reference(value: Any) -> bool:
    return len(value) == 3 and list(map(type, value)) == [str, int, int]
