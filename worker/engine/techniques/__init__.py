"""One file a technique: how it is done. Found by walking this folder."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


def techniques() -> tuple[str, ...]:
    """Tags of every technique that can be carried out here."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__))


@cache
def technique(tag: str) -> ModuleType:
    """The module that carries out a technique: `apply(step, model, context) -> StepOutcome`."""
    return importlib.import_module(f"{__name__}.{tag}")
