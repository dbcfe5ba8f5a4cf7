"""What a model was compiled with: read, never loaded, so what an author wrote may stand there."""

import builtins
import re
import sys
from collections.abc import Iterator
from typing import Any

from app.recipes.keras.graph import Config
from app.recipes.keras.losses import is_own, loss_name
from app.recipes.losses import ALIASES
from app.uploads.inspector.keras import names
from app.uploads.inspector.keras.lookups import NO_CLASSES, check_lookup
from app.uploads.inspector.keras.walk import Spot
from app.uploads.inspector.shown import shown

# As Keras registers a class or function: `MyLoss`, `my_package>MyLoss`.
REGISTERED = re.compile(r"(?:[A-Za-z_][\w.\-]{0,100}>)?[A-Za-z_]\w{0,100}", re.ASCII)
MODULE = re.compile(r"[A-Za-z_]\w{0,60}(?:\.[A-Za-z_]\w{0,60}){0,10}", re.ASCII)
COMPILED_HINT = (
    "Save the model uncompiled, or compiled with losses and metrics of Keras or classes and "
    "functions of your own, not with lambdas or what Python brings."
)
KNOWN_LOSSES = names.LOSSES | names.LOSS_FUNCTIONS | ALIASES.keys()


def check_compiled(spot: Spot) -> None:
    """Refuse what neither Keras has nor an author can have written.

    Raises: RejectedUpload.
    """
    found = spot.value
    is_function = found["class_name"] == "function"
    if not (_is_own_function(found) if is_function else _is_own_class(found)):
        check_lookup(spot, COMPILED_HINT)


def loss_notes(compile_config: Config | None) -> Iterator[str]:
    """What is not known of the model because its loss is the author's own."""
    for name in dict.fromkeys(_own_losses((compile_config or {}).get("loss"))):
        yield (
            f"the model was compiled with {shown(name)}; that loss is not known here: name one "
            "where a step trains, or compile the model with a loss of Keras that says what it "
            "predicts"
        )


def _own_losses(loss: Any) -> Iterator[str]:
    """Of one loss, or of the losses in a list or dict."""
    if isinstance(loss, list):
        for each in loss:
            yield from _own_losses(each)
    elif isinstance(loss, dict) and "class_name" not in loss:
        yield from _own_losses(list(loss.values()))
    elif (name := loss_name(loss)) and (is_own(loss) or name not in KNOWN_LOSSES):
        yield name


def _is_own_class(found: Config) -> bool:
    name, module = found["class_name"], found.get("module")
    if not isinstance(name, str) or name in NO_CLASSES:
        return False
    registered = found.get("registered_name") or name
    return _is_registered(name) and _is_registered(registered) and _is_authors(module)


def _is_own_function(found: Config) -> bool:
    name, module = found.get("config"), found.get("module")
    # Keras writes every function so, those of Python as well.
    is_unplaced = module == "builtins" and str(name) not in vars(builtins)
    return _is_registered(name) and (is_unplaced or _is_authors(module))


def _is_registered(name: object) -> bool:
    return isinstance(name, str) and REGISTERED.fullmatch(name) is not None


def _is_authors(module: object) -> bool:
    """Whether a module is neither Python's nor Keras'; Keras leaves that of own classes out."""
    if module is None:
        return True
    if not isinstance(module, str) or not MODULE.fullmatch(module):
        return False
    first = module.partition(".")[0]
    return first != "keras" and first not in sys.stdlib_module_names
