"""Compiles the coder's loops with numba, and keeps what was compiled where that is safe."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

from worker.engine.coding import kept

# A whole number inside compiled code: numba's 64-bit one, whatever mypy would make of it.
Whole = Any
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function in machine code, compiled at its first call."""
    folder = kept.folder()
    if folder is None:
        return cast(Function, numba.njit(nogil=True)(function))
    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    finally:
        settings.CACHE_DIR = before
