"""Where TensorFlow leaves the parts of what it saves, on kernels that move no file between folders.

It writes them into a folder of their own and moves them out, which Landlock forbids before Linux
5.19. On stores that have no folders it writes them beside what they become: so here.
"""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorflow.python.checkpoint import functional_saver
from tensorflow.python.framework import constant_op

APART, BESIDE = "_temp/part", ".part"


@contextmanager
def parts_where_they_can_be_moved(folder: Path) -> Iterator[None]:
    """While TensorFlow saves into `folder`, or one beneath it."""
    if moves_between_folders(folder):
        yield
        return
    functional_saver.constant_op = SimpleNamespace(constant=_constant)
    try:
        yield
    finally:
        functional_saver.constant_op = constant_op


def moves_between_folders(folder: Path) -> bool:
    """Tried: an older kernel says that the other folder is on another device."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder) as one,
        tempfile.TemporaryDirectory(dir=one) as two,
    ):
        moving = Path(two, "moving")
        moving.touch()
        try:
            moving.rename(Path(one, "moved"))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
    return True


def _constant(value: Any, **given: Any) -> Any:
    is_apart = isinstance(value, str) and value == APART
    return constant_op.constant(BESIDE if is_apart else value, **given)
