"""Brings the configuration in a .h5 file, of Keras 2 or 3, into a form that Keras 3 reads back."""

from typing import Any

from app.recipes.keras.places import layers_of_all_models, put_back
from worker.engine.loading.keras2 import as_keras3

WHOLE_AXIS = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}


def readable(config: Any) -> Any:
    """The same model.

    Raises: ModelNotLoadable if Keras 3 has no such model; whatever indexing raises for what is
        no configuration.
    """
    config = as_keras3(config)
    put_back(config)
    for layer in layers_of_all_models(config):
        if layer.get("class_name") == "GetItem":
            layer["inbound_nodes"] = [_spelled_out(call) for call in layer["inbound_nodes"]]
    return config


def _spelled_out(call: Any) -> Any:
    """`x[..., 0]` as `x[:, :, 0]`: Keras cannot read the `...` that it wrote into a .h5 file."""
    tensor, key = call["args"]
    items = key if isinstance(key, list) else [key]
    places = [place for place, item in enumerate(items) if _is_ellipsis(item)]
    if not places:
        return call
    # A new axis takes none of the tensor's.
    named = sum(item is not None for item in items) - 1
    filled = [WHOLE_AXIS] * (len(tensor["config"]["shape"]) - named)
    before, after = items[: places[0]], items[places[0] + 1 :]
    return {**call, "args": [tensor, [*before, *filled, *after]]}


def _is_ellipsis(item: Any) -> bool:
    return isinstance(item, dict) and item.get("class_name") == "__ellipsis__"
