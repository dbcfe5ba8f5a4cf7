"""Compiles every loop of the coder before the first job.

    python -m worker.engine.coding.compiling

No file of a stranger is met here. Jobs, which are confined, may read what was compiled and write
nothing there.
"""

import os
import signal

import numpy as np

from app.processes import die_with_parent
from worker.engine.coding import kept
from worker.engine.coding.packing import write_text
from worker.engine.coding.stream import Stream
from worker.engine.coding.tensors import read_tensor, write_tensor
from worker.engine.coding.unpacking import read_texts
from worker.engine.progress import never_cancelled


def main() -> None:
    die_with_parent(os.getppid(), signal.SIGKILL)
    folder = kept.folder()
    if folder is None:
        return
    there_and_back()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / kept.WHOLE).touch()


def there_and_back() -> None:
    """Write and read one of each thing that a packed file holds: numba compiles what is called."""
    numbers = np.random.default_rng(0).integers(-9, 9, (3, 3, 8, 16))
    plain = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    sparse = plain * (plain > 1)
    tensors = (numbers * np.float32(0.5), plain, sparse, plain[0], numbers.astype(np.int32))
    stream = Stream.writing(never_cancelled)
    write_text(stream, b"{}\n{}")
    for tensor in tensors:
        write_tensor(stream, tensor, None)
    reading = Stream.reading(stream.finish(), never_cancelled)
    read_texts(reading)
    for tensor in tensors:
        read_tensor(reading, tensor.shape, tensor.dtype)


if __name__ == "__main__":
    main()
