"""Compiles the coder's loops with numba, and keeps what was compiled where that is safe."""

import atexit
import shutil
import tempfile
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

    Where it cannot, as in the box, a copy of what is kept there serves this process alone. Numba
    would use a folder under its home: a job could leave code there for the next one to run.
    The folder is named after all sources: numba looks at a function's own file only, not at those
    of the functions that it calls.
    """
    sources = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.py")))
    beside = FOLDER / "__pycache__"
    kept = beside / f"compiled-{sha256(sources).hexdigest()[:16]}"
    if _can_be_written(beside if beside.is_dir() else FOLDER):
        return kept
    return _copy_of(kept) if kept.is_dir() else None


def _can_be_written(folder: Path) -> bool:
    # Tried: `os.access` knows nothing of Landlock.
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _copy_of(kept: Path) -> Path:
    own = Path(tempfile.mkdtemp(prefix="compiled-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(shutil.copytree(kept, own, dirs_exist_ok=True))
