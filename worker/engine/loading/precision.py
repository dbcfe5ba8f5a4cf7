"""Brings a model that computes in other float types than float32 to float32."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from worker.engine.surgery.weights import assign_weights

# Policies, as Keras names them. A tflite file knows float32 alone for what is computed.
OTHER_POLICIES = frozenset({"mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64"})


def other_policies(model: keras.Model) -> tuple[str, ...]:
    """The policies of its layers that are not float32, each once, sorted."""
    return tuple(sorted(set(_policies(json.loads(model.to_json())))))


def in_float32(model: keras.Model) -> keras.Model:
    """The same network with every layer's weights and sums in float32; the dtypes of inputs stay.

    Weights of fewer bits keep their values. A model that is float32 already is given back.
    """
    if not other_policies(model):
        return model
    config = _rewritten(json.loads(model.to_json()))
    rebuilt: keras.Model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    rebuilt.set_weights(model.get_weights())
    # What a Normalization derived from its weights is made anew.
    assign_weights(rebuilt, {})
    return rebuilt


def _policies(config: Any) -> Iterator[str]:
    if _is_other_policy(config):
        yield config["config"]["name"]
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from _policies(value)
    elif isinstance(config, list):
        for item in config:
            yield from _policies(item)


def _rewritten(config: Any) -> Any:
    if _is_other_policy(config):
        return {**config, "config": {"name": "float32"}}
    if isinstance(config, Mapping):
        return {key: _rewritten(value) for key, value in config.items()}
    if isinstance(config, list):
        return [_rewritten(item) for item in config]
    return config


def _is_other_policy(config: Any) -> bool:
    return (
        isinstance(config, Mapping)
        and config.get("class_name") == "DTypePolicy"
        and config["config"]["name"] in OTHER_POLICIES
    )
