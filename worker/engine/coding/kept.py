"""Where the machine code of the coder is kept between processes. Standard library only."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
# What the worker had compiled, for its children to read; and where to compile to.
READY, INTO = "PENJING_COMPILED", "PENJING_COMPILE_INTO"
# Written last: all that jobs need is there.
WHOLE = "whole"


@cache
def folder() -> Path | None:
    """Of this process, to keep code in; null where there is none.

    In the box it is a copy, which goes with the process: a job could leave code for another to run.
    """
    if into := os.environ.get(INTO):
        return Path(into)
    if ready := os.environ.get(READY):
        whole = Path(ready, WHOLE)
        return _copy_of(whole.parent) if os.access(whole, os.R_OK) else None
    beside = FOLDER / "__pycache__" / named_after_sources()
    return beside_the_sources() or (_copy_of(beside) if beside.is_dir() else None)


def beside_the_sources() -> Path | None:
    """A folder there, where one can be written; null elsewhere."""
    parent = FOLDER / "__pycache__"
    if can_be_written(parent if parent.is_dir() else FOLDER):
        return parent / named_after_sources()
    return None


def named_after_sources() -> str:
    """After all of them: numba looks at a function's own, not at those of what it calls."""
    sources = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.py")))
    return f"compiled-{sha256(sources).hexdigest()[:16]}"


def can_be_written(parent: Path) -> bool:
    # Tried: `os.access` knows nothing of Landlock.
    try:
        with tempfile.TemporaryFile(dir=parent):
            return True
    except OSError:
        return False


def _copy_of(ready: Path) -> Path:
    own = Path(tempfile.mkdtemp(prefix="compiled-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(shutil.copytree(ready, own, dirs_exist_ok=True))
