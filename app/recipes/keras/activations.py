"""The activation of a layer, read from its configuration where that leaves no doubt; pure."""

from app.recipes.activations import canonical
from app.recipes.keras.chains import PASSING
from app.recipes.keras.ends import AFFINE, KEEPING, RESHAPING, WEIGHTED
from app.recipes.keras.graph import FAKE_QUANT, Config, is_model

LAYERS = {"LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu", "Softmax": "softmax"}
WITHOUT = (
    (
        PASSING
        | KEEPING
        | AFFINE
        | RESHAPING
        | {"Average", "Embedding", "InputLayer", "Multiply"}
        | {"GroupNormalization", "LayerNormalization", "RMSNormalization"}
    )
    - LAYERS.keys()
    - {"ReLU"}
)


def sure_activation(layer: Config) -> str | None:
    """Its name as a recipe says it; "linear" where there is none, null where that is not sure."""
    kind, config = layer["class_name"], layer["config"]
    if kind in WITHOUT:
        return "linear"
    if kind == "ReLU":
        return _relu(config)
    if kind == "Activation" or kind in WEIGHTED:
        return _named(config.get("activation"))
    return LAYERS.get(kind)


def _relu(config: Config) -> str | None:
    if config.get("negative_slope") or config.get("threshold"):
        return None
    limit = config.get("max_value")
    if limit is None:
        return "relu"
    return "relu6" if limit == 6 else None


def _named(activation: object) -> str | None:
    if activation is None:
        return "linear"
    if isinstance(activation, dict) and activation.get("class_name") == "function":
        activation = activation.get("config")
    if isinstance(activation, dict) and is_model(activation):
        inner = [layer for layer in activation["config"]["layers"] if not _is_around(layer)]
        return sure_activation(inner[0]) if len(inner) == 1 else None if inner else "linear"
    return canonical(activation) if isinstance(activation, str) else None


def _is_around(layer: Config) -> bool:
    """Whether it belongs to the ranges around an activation."""
    return layer["class_name"] in ("InputLayer", FAKE_QUANT)
