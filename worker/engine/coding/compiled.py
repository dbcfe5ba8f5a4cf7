"""Compiles the coder's loops with numba, and keeps what was compiled where that is safe."""

import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

# A whole number inside compiled code: numba's 64-bit one, whatever mypy would make of it.
Whole = Any
Function = TypeVar("Function", bound=Callable[..., Any])
FOLDER = Path(__file__).parent


def compiled(function: Function) -> Function:
    """The function in machine code, compiled at its first call."""
    kept = _kept_in()
    if kept is None:
        return cast(Function, numba.njit(nogil=True)(function))
    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(kept)
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    finally:
        settings.CACHE_DIR = before


@cache
def _kept_in() -> Path | None:
    """Where compiled code is kept: beside its source, where that folder can be written.

    Elsewhere numba would use a folder under the home of the process: a job could leave code there
    for the next one to run. The folder is named after all sources: numba looks at a function's
    own file only, not at those of the functions that it calls.
    """
    kept = FOLDER / "__pycache__"
    if not os.access(kept if kept.is_dir() else FOLDER, os.W_OK):
        return None
    sources = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.py")))
    return kept / f"compiled-{sha256(sources).hexdigest()[:16]}"
