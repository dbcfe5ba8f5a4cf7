"""Brings the configuration of a Keras 2 model into a form that Keras 3 reads."""

from collections.abc import Mapping
from typing import Any

from app.errors import ModelNotLoadable

# Keywords that Keras 2 wrote and Keras 3 has no more, each with the value at which dropping it
# changes nothing.
_NO_GROUPS = {"groups": 1}
_BATCH_MAJOR = {"time_major": False}
DROPPED: dict[str, dict[str, Any]] = {
    "DepthwiseConv1D": _NO_GROUPS,
    "DepthwiseConv2D": _NO_GROUPS,
    "SeparableConv1D": _NO_GROUPS,
    "SeparableConv2D": _NO_GROUPS,
    "Conv1DTranspose": _NO_GROUPS,
    "Conv2DTranspose": _NO_GROUPS,
    "Conv3DTranspose": _NO_GROUPS,
    "LSTM": _BATCH_MAJOR,
    "GRU": _BATCH_MAJOR,
    "SimpleRNN": _BATCH_MAJOR,
    "RNN": _BATCH_MAJOR,
    "ConvLSTM1D": _BATCH_MAJOR,
    "ConvLSTM2D": _BATCH_MAJOR,
    "ConvLSTM3D": _BATCH_MAJOR,
}
# A separable kernel is two kernels; Keras 2 also wrote the settings of the one it never had.
_SEPARABLE = frozenset({"SeparableConv1D", "SeparableConv2D"})
_UNUSED_BY_SEPARABLE = frozenset({"kernel_initializer", "kernel_regularizer", "kernel_constraint"})


def as_keras3(config: Any) -> Any:
    """The same configuration without the keywords that Keras 3 dropped, at any depth.

    Raises: ModelNotLoadable if such a keyword had a meaning (`time_major=True`).
    """
    if isinstance(config, list):
        return [as_keras3(item) for item in config]
    if not isinstance(config, Mapping):
        return config
    plain = {key: as_keras3(value) for key, value in config.items()}
    class_name, inner = plain.get("class_name"), plain.get("config")
    if class_name == "Policy":
        plain["class_name"] = "DTypePolicy"
    if isinstance(class_name, str) and isinstance(inner, dict):
        plain["config"] = _without_dropped(class_name, inner)
    if class_name == "Sequential" and isinstance(inner, dict):
        plain["config"] = _with_input_layer(inner)
    return plain


def _with_input_layer(config: dict[str, Any]) -> dict[str, Any]:
    """Early Keras 2 wrote a Sequential's input shape into its first layer.

    Keras 3 takes that for a shape without a batch axis and builds one axis too many.
    """
    first, *rest = config.get("layers") or [{"config": {}}]
    inner = dict(first["config"])
    shape = inner.pop("batch_input_shape", None)
    if shape is None or first["class_name"] == "InputLayer":
        return config
    input_layer = {
        "class_name": "InputLayer",
        "config": {
            "batch_shape": shape,
            "dtype": inner.get("dtype", "float32"),
            "name": f"{inner['name']}_input",
        },
    }
    return {**config, "layers": [input_layer, {**first, "config": inner}, *rest]}


def _without_dropped(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    dropped = DROPPED.get(class_name, {})
    for keyword, harmless in dropped.items():
        given = config.get(keyword, harmless)
        if given != harmless:
            raise ModelNotLoadable(
                f"layer {config.get('name')!r} ({class_name}) has {keyword}={given!r}, which "
                f"Keras 3 cannot do; it knows {keyword}={harmless!r} only",
                hint="Rebuild this layer in Keras 3 and save the model as .keras.",
            )
    gone = dropped.keys() | (_UNUSED_BY_SEPARABLE if class_name in _SEPARABLE else frozenset())
    if config.get("score_mode") == "dot":
        # The default, which Keras 3 takes for its function of that name when it reads a .h5 file.
        gone |= {"score_mode"}
    return {key: value for key, value in config.items() if key not in gone}
