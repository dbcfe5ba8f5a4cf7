"""What a packed file says of its architecture, looked at before Keras builds anything from it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import keras

from worker.engine.coding.errors import PackedFileDamaged, PackedFileTooLarge

# As many as an uploaded model may have.
MOST_LAYERS = 10_000
# Layers of Keras that run code of the file or of another one, or read files that the file names.
REFUSED = frozenset(
    """
    FlaxLayer IntegerLookup JaxLayer Lambda StringLookup TFSMLayer TextVectorization
    TorchModuleWrapper __lambda__
    """.split()  # noqa: SIM905 - read as text, like the names an upload may have
)
FUNCTION_MODULES = frozenset({"builtins", "keras.activations", "keras.losses", "keras.metrics"})
VERSION = re.compile(r"[0-9][\w.]{0,19}")


def checked_config(config: str) -> Any:
    """The configuration without what the model was compiled with.

    Raises: ValueError, RecursionError, TypeError where it is none; PackedFileDamaged where it
        names code; PackedFileTooLarge.
    """
    given = json.loads(config)
    given["compile_config"] = None
    layers = 0
    for part in _objects(given):
        listed = part.get("layers")
        layers += len(listed) if isinstance(listed, list) else 0
        if layers > MOST_LAYERS:
            raise PackedFileTooLarge(f"the model has more than {MOST_LAYERS} layers")
        _check_name(part)
    return given


def hint_of_versions(metadata: str) -> str:
    """What may have gone wrong where a model cannot be rebuilt: told versions, where they differ.

    metadata: of the file, so not to be trusted.
    """
    found = re.search(r'"keras_version": "([^"]*)"', metadata)
    told, here = found[1] if found else "", keras.__version__
    if VERSION.fullmatch(told) and told != here:
        return f"It was packed with Keras {told}, and Keras {here} is installed: use {told}."
    return "The file was damaged, or made by something other than Penjing."


def _objects(given: Any) -> Iterator[dict[str, Any]]:
    """Every object of the JSON, without recursion: how deep it is nested is the file's choice."""
    left = [given]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)


def _check_name(part: dict[str, Any]) -> None:
    name, module = part.get("class_name"), part.get("module")
    is_foreign_function = name == "function" and module not in FUNCTION_MODULES
    if isinstance(name, str) and (name in REFUSED or is_foreign_function):
        raise PackedFileDamaged(
            f"its architecture names {name}, which runs code or reads files; no packed "
            "architecture may",
            hint="Penjing writes no such file: do not trust where it came from.",
        )
