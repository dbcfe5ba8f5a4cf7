"""Compiles the coder's loops with numba, and keeps what was compiled where that is safe."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

# A whole number inside compiled code: numba's 64-bit one, whatever mypy would make of it.
Whole = Any
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function in machine code, compiled at its first call.

    Kept only beside its source, in a `__pycache__` that can be written. Elsewhere numba would use
    a folder under the home of the process: a job could leave code there for the next one to run.
    """
    folder = Path(function.__code__.co_filename).parent
    kept = folder / "__pycache__"
    can_write = os.access(kept if kept.is_dir() else folder, os.W_OK)
    dispatcher: Any = njit(cache=can_write, nogil=True)(function)
    return cast(Function, dispatcher)
