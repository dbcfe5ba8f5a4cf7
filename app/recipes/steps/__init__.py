"""One file a technique: its parameters, ranges and needs. Found by walking this folder."""

import importlib
import pkgutil
from functools import cache

from app.recipes.steps.base import Conversion, Step, Transform

__all__ = ["Conversion", "Step", "Transform", "step_types"]


@cache
def step_types() -> dict[str, type[Step]]:
    """Every technique by its tag. File name, tag and class name are one name."""
    found: dict[str, type[Step]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name in ("base", "recovery"):
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        class_name = module_info.name.title().replace("_", "")
        found[module_info.name] = getattr(module, class_name)
    return found
