"""The coder's machine code: compiled once by the worker, read by its children, written by none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.engine.coding import kept

# Packs a model, and tells what had to be compiled for it.
PACKING = """
import gc, sys, tempfile
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from tests.builders import MODELS
from worker.engine.coding.packing import pack
from worker.engine.exporting.keras_file import write_keras
from worker.engine.progress import never_cancelled
path = Path(tempfile.mkdtemp()) / "plain.keras"
write_keras(MODELS["conv"](), path)
pack(path, [], never_cancelled)
compiled = [d for d in gc.get_objects() if isinstance(d, Dispatcher) and d.stats.cache_misses]
print([d.py_func.__name__ for d in compiled])
"""


@pytest.mark.hostile  # long, and hostile jobs are why it is so
def test_children_read_what_the_worker_compiled(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    python("-m", "worker.engine.coding.compiling", **{kept.INTO: str(shared)})
    held = sorted(shared.rglob("*"))

    compiled = python("-c", PACKING, **{kept.READY: str(shared), "TMPDIR": str(own)})

    assert compiled == "[]"
    assert sorted(shared.rglob("*")) == held


def test_nothing_is_read_where_compiling_has_not_ended(tmp_path: Path) -> None:
    (tmp_path / "half.nbc").touch()

    folder = python(
        "-c",
        "from worker.engine.coding import kept; print(kept.folder())",
        **{kept.READY: str(tmp_path)},
    )

    assert folder == "None"


def python(*arguments: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()
