"""What a Keras config may name: the layers Keras has, and no code.

Loading a config makes Keras look classes and functions up by name, so everything that is looked up
must be on a list here. Block-lists have failed at this (Lambda, get_file, TorchModuleWrapper, ...).
"""

import re
from collections.abc import Iterator
from typing import Any

from app.errors import RejectedUpload
from app.recipes.keras_graph import Config

MAX_LAYERS = 10_000
# TensorFlow computes under the names of layers, and takes no others. Inputs compute nothing.
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
INPUT_NAME = re.compile(r"[\w.:+\-=,#()\[\] ]{1,200}")
INPUT_HINT = ", those of inputs all letters, spaces and : + = , # ( ) [ ] as well"
IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,100}")
MODELS = frozenset({"Functional", "Model", "Sequential"})
LAYERS = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AlphaDropout Attention Average AveragePooling1D AveragePooling2D
    AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
    Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D
    ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D
    Discretization Dot Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention
    Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MultiHeadAttention Multiply
    Normalization PReLU Permute RMSNormalization RNN RandomBrightness RandomContrast RandomCrop
    RandomFlip RandomHeight RandomRotation RandomSaturation RandomTranslation RandomWidth
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram
    SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells Subtract
    ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()  # noqa: SIM905 - a hundred words are read and kept in order more easily as text
)
# Rooms of Keras whose classes only compute: whatever they hold may be named.
ROOMS = frozenset(
    {
        "keras.activations",
        "keras.constraints",
        "keras.dtype_policies",
        "keras.initializers",
        "keras.losses",
        "keras.metrics",
        "keras.optimizers",
        "keras.optimizers.schedules",
        "keras.quantizers",
        "keras.regularizers",
        "keras.src.ops.math",
        "keras.src.ops.nn",
        "keras.src.ops.numpy",
    }
)
FUNCTION_ROOMS = frozenset({"builtins", "keras.activations", "keras.losses", "keras.metrics"})
MODEL_ROOMS = frozenset(
    {"keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential"}
)
POLICIES = frozenset(
    {"DTypePolicy", "FloatDTypePolicy", "QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy"}
)
FLOAT_POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy"})
QUANTIZED_FROM = "_from_"
SEED = ("keras.random", "SeedGenerator")
# Rounds to a range that is written beside it.
FAKE_QUANT = ("keras.src.quantizers.quantizers", "FakeQuantWithMinMaxVars")
# Of this room, others call functions that a file could name.
COMPUTING = (("keras.src.ops.core", "Cast"), ("keras.src.ops.core", "StopGradient"))
VALUES = frozenset({"__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"})
WRAPPED = ("layer", "backward_layer", "cell", "cells", "layers")
# Each makes a weight with at least as many values.
SIZES = ("units", "filters", "input_dim", "output_dim")


def check_config(config: Config, compile_config: Config | None, *, stored_values: int) -> None:
    """Refuse what must not be loaded.

    Args:
        config: a model's.
        compile_config: what it was compiled with; its objects are looked up too.
        stored_values: how many weight values the file holds; no layer may declare more.

    Raises: RejectedUpload naming the layer or object.
    """
    for found, _ in _objects(compile_config):
        _check_lookup(found, is_layer=False)
    layers = 0
    for found, is_layer in _objects(config, is_layer=True):
        _check_lookup(found, is_layer=is_layer)
        inner = found.get("config")
        if isinstance(inner, dict):
            _check_name(found["class_name"], inner.get("name"), is_whole=found is config)
            _check_sizes(found["class_name"], inner, stored_values)
        layers += is_layer
        if layers > MAX_LAYERS:
            raise RejectedUpload(f"the model has more than {MAX_LAYERS} layers")


def is_quantized(config: Config) -> bool:
    """Whether Keras stored any layer in integers or 8-bit floats.

    Every kind of quantization has a dtype policy of its own, and new ones come with new versions.
    """
    return any(_is_quantizing(found) for found, _ in _objects(config))


def _is_quantizing(found: dict[str, Any]) -> bool:
    class_name, inside = str(found["class_name"]), found.get("config")
    if class_name.endswith("DTypePolicy") and class_name not in FLOAT_POLICIES:
        return True
    named = inside if isinstance(inside, dict) else {}
    # A policy may be written by its name alone: int8_from_float32.
    policy = named.get("name" if class_name in FLOAT_POLICIES else "dtype")
    return isinstance(policy, str) and QUANTIZED_FROM in policy


def _objects(config: Any, *, is_layer: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Everything Keras would look up: dicts with a class name, and whether a layer stands there."""
    pending: list[tuple[Any, bool]] = [(config, is_layer)]
    while pending:
        value, stands_for_layer = pending.pop()
        if isinstance(value, list):
            pending.extend((item, stands_for_layer) for item in value)
        elif isinstance(value, dict):
            if "class_name" in value:
                yield value, stands_for_layer
            pending.extend((item, key in WRAPPED) for key, item in value.items())


def _check_lookup(found: dict[str, Any], *, is_layer: bool) -> None:
    class_name, module = found["class_name"], found.get("module")
    if not isinstance(class_name, str):
        raise RejectedUpload("the model's configuration has a class name that is no text")
    if class_name in VALUES:
        return
    if class_name in ("Lambda", "__lambda__"):
        raise RejectedUpload(
            f"the model has a Lambda ({_shown_name(found)}): Python code inside a file",
            hint="Replace it by a layer that Keras itself has, or by keras.ops, and save again.",
        )
    if class_name == "function":
        _check_function(found)
        return
    if not _is_known(class_name, module, is_layer=is_layer):
        raise RejectedUpload(
            f"the model uses {_full_name(module, class_name)!r} ({_shown_name(found)}), which is "
            "not among the layers and objects that can be loaded here",
            hint="Build the model from Keras' own layers, Sequential or Functional; put text and "
            "table look-ups in front of the model, not inside.",
        )
    registered = found.get("registered_name")
    if registered not in (None, class_name):
        raise RejectedUpload(f"{registered!r} is a custom class; only Keras' own can be loaded")


def _is_known(class_name: str, module: object, *, is_layer: bool) -> bool:
    if not IDENTIFIER.fullmatch(class_name):
        return False
    if module is None:
        return class_name in LAYERS | MODELS if is_layer else True
    if module in MODEL_ROOMS:
        return class_name in MODELS | POLICIES
    if module == "keras.layers":
        return class_name in LAYERS
    return module in ROOMS or (module, class_name) in (SEED, FAKE_QUANT, *COMPUTING)


def _check_function(found: dict[str, Any]) -> None:
    name, module = found.get("config"), found.get("module")
    is_plain = isinstance(name, str) and IDENTIFIER.fullmatch(name)
    if not is_plain or module not in FUNCTION_ROOMS:
        raise RejectedUpload(
            f"the model's configuration names the function {_full_name(module, name)!r}",
            hint="Only Keras' activations, losses and metrics can be named.",
        )


def _check_name(class_name: str, name: object, *, is_whole: bool) -> None:
    """Of a layer, or of the model itself, which may not begin with every character."""
    if name is None:
        return
    pattern, more = (INPUT_NAME, INPUT_HINT) if class_name == "InputLayer" else (NAME, "")
    is_taken = isinstance(name, str) and pattern.fullmatch(name)
    if not is_taken or (is_whole and str(name).startswith(("_", "-"))):
        what = "the model" if is_whole else "a layer"
        raise RejectedUpload(
            f"{what} is called {str(name)[:80]!r}; TensorFlow computes nothing under that name",
            hint=f"Names may hold the letters A to Z and a to z, digits and . _ -{more}; that of "
            "the model begins with a letter or digit. Name it otherwise and save it again.",
        )


def _check_sizes(class_name: str, inner: dict[str, Any], stored_values: int) -> None:
    for key in SIZES:
        size = inner.get(key)
        if size is None or class_name in VALUES:
            continue
        if type(size) is not int or not 0 < size <= stored_values:
            raise RejectedUpload(
                f"{class_name} {inner.get('name')!r} declares {key}={size!r}, but the file stores "
                f"{stored_values} weight values in all",
                hint="Configuration and weights do not belong together; save the model again.",
            )


def _shown_name(found: dict[str, Any]) -> str:
    inner = found.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    return f"layer {str(name)[:80]!r}" if name else "unnamed"


def _full_name(module: object, name: object) -> str:
    return (f"{module}.{name}" if module else str(name))[:120]
