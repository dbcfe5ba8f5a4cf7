"""What a Keras config may name: the layers Keras has, and no code.

Loading a config makes Keras look classes and functions up by name, so everything that is looked up
must be on a list. Block-lists have failed at this (Lambda, get_file, TorchModuleWrapper, ...).
"""

import re
from typing import Any

from app.uploads.inspector.keras import names
from app.uploads.inspector.keras.earlier import keras2_hint
from app.uploads.inspector.keras.walk import Spot, refused
from app.uploads.inspector.shown import shown

# TensorFlow computes under the names of layers, and takes no others. Inputs compute nothing.
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
INPUT_NAME = re.compile(r"[\w.:+\-=,#()\[\] ]{1,200}")
INPUT_HINT = ", those of inputs all letters, spaces and : + = , # ( ) [ ] as well"
# Look nothing up: values that JSON has no form for.
VALUES = frozenset(
    {
        "TensorShape",
        "__bytes__",
        "__ellipsis__",
        "__keras_tensor__",
        "__numpy__",
        "__slice__",
        "__tensor__",
        "__tuple__",
    }
)
LAMBDAS = frozenset({"Lambda", "__lambda__"})
# Mean something else than a class of that name.
NO_CLASSES = VALUES | LAMBDAS | {"CompositeTensor", "TypeSpec", "__typespec__", "function"}
LOOKUPS = frozenset({"IntegerLookup", "StringLookup", "TextVectorization"})
OWN_LAYERS_HINT = "Build the model from Keras' own layers, Sequential or Functional."


def is_named(value: Any) -> bool:
    """Whether Keras takes a value for something to look up."""
    return isinstance(value, dict) and "class_name" in value


def is_layer(value: Any) -> bool:
    """Whether it is a layer, a model, or a bare operation, with its config."""
    if not is_named(value) or not isinstance(value.get("config"), dict):
        return False
    return names.is_layer(value.get("module"), value["class_name"])


def check_lookup(spot: Spot, hint: str | None = None) -> None:
    """Refuse what is on no list.

    Args:
        spot: a named dict.
        hint: what to do about it, where that is not a matter of layers.

    Raises: RejectedUpload.
    """
    found = spot.value
    class_name, module = found["class_name"], found.get("module")
    if not isinstance(class_name, str):
        raise refused(spot, "the model's configuration has a class name that is no text")
    if class_name in VALUES:
        return
    if class_name in LAMBDAS:
        raise _lambda(spot, hint)
    if class_name == "function":
        _check_function(spot, hint)
        return
    known = names.UNPLACED if module is None else names.CLASSES.get(str(module), frozenset())
    if class_name not in known:
        raise refused(
            spot,
            f"the model uses {_full_name(module, class_name)} ({_shown_name(found)}), which is "
            "not among the layers and objects that can be loaded here",
            hint or keras2_hint(spot) or OWN_LAYERS_HINT,
        )
    registered = found.get("registered_name")
    if registered not in (None, class_name):
        raise refused(
            spot,
            f"{shown(registered)} is a custom class; only Keras' own can be loaded",
            hint or OWN_LAYERS_HINT,
        )


def check_layer_name(spot: Spot, *, is_whole: bool) -> None:
    """Of a layer, or of the model itself, which may not begin with every character.

    Raises: RejectedUpload.
    """
    class_name, inner = spot.value["class_name"], spot.value["config"].get("name")
    # The graph goes by the name beside the config, TensorFlow by the one inside.
    name = spot.value.get("name", inner)
    if inner not in (None, name):
        raise refused(spot, f"a layer is called {shown(name)} and {shown(inner)}")
    if name is None:
        return
    pattern, more = (INPUT_NAME, INPUT_HINT) if class_name == "InputLayer" else (NAME, "")
    is_taken = isinstance(name, str) and pattern.fullmatch(name)
    if not is_taken or (is_whole and name.startswith(("_", "-"))):
        what = "the model" if is_whole else "a layer"
        raise refused(
            spot,
            f"{what} is called {shown(name)}; TensorFlow computes nothing under that name",
            f"Names may hold the letters A to Z and a to z, digits and . _ -{more}; that of "
            "the model begins with a letter or digit. Name it otherwise and save it again.",
        )


def check_vocabulary(spot: Spot) -> None:
    """A look-up must bring its words with it: a path would be read from the disk here.

    Raises: RejectedUpload.
    """
    config = spot.value["config"]
    if spot.value["class_name"] not in LOOKUPS or isinstance(config.get("vocabulary"), list):
        return
    raise refused(
        spot,
        f"the look-up {_shown_name(spot.value)} has its vocabulary not in the model's "
        f"configuration but elsewhere: {shown(config.get('vocabulary'))}",
        "Give the layer its vocabulary as a list (vocabulary=[...]), or look words up in front of "
        "the model.",
    )


def _check_function(spot: Spot, hint: str | None) -> None:
    name, module = spot.value.get("config"), spot.value.get("module")
    is_known = str(name) in names.FUNCTIONS.get(str(module), frozenset())
    registered = spot.value.get("registered_name")
    if is_known and registered in (None, "function", name):
        return
    raise refused(
        spot,
        f"the model's configuration names the function {_full_name(module, name)}",
        hint or "Only Keras' activations, losses and metrics can be named.",
    )


def _lambda(spot: Spot, hint: str | None) -> Exception:
    inside = spot.value.get("config")
    function = inside.get("function") if isinstance(inside, dict) else None
    named = function.get("config") if isinstance(function, dict) else function
    if isinstance(named, str) and named.isidentifier():
        return refused(
            spot,
            f"the model has a Lambda ({_shown_name(spot.value)}) that names {named[:80]}",
            hint or f"Call keras.ops.{named[:80]} directly, if Keras has it, and save again.",
        )
    return refused(
        spot,
        f"the model has a Lambda ({_shown_name(spot.value)}): Python code inside a file",
        hint or "Replace it by a layer that Keras itself has, or by keras.ops, and save again.",
    )


def _shown_name(found: dict[str, Any]) -> str:
    inner = found.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    return f"layer {shown(name)}" if name else "unnamed"


def _full_name(module: object, name: object) -> str:
    return shown(f"{module}.{name}" if module else str(name))
