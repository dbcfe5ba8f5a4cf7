"""How many weights a second are packed and unpacked, in processor time of one core.

    python -m benchmarks.numbers.packing_speed [MILLIONS]

Random convolution kernels of 2.3 M weights each, until there are so many (25 unless said): dense
8 bit per channel, dense float32, 90 % sparse float32, 90 % sparse on a grid.
"""

import sys
import time
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from worker.engine.coding.forms import Tensor
from worker.engine.coding.stream import Stream
from worker.engine.coding.tensors import read_tensor, write_tensor
from worker.engine.progress import never_cancelled
from worker.engine.quantizing.levels import Grid, Levels

SHAPE = (3, 3, 256, 1000)
PER_CHANNEL = (1, 1, 1, SHAPE[-1])


def main(millions: float) -> None:
    count = max(1, round(millions * 1e6 / np.prod(SHAPE)))
    table = Table("tensors", "bits a weight", "packing, M/s", "unpacking, M/s")
    for name, tensor, levels in kinds(np.random.default_rng(0)):
        speed(tensor[..., :8], None, 1)  # compiles what it needs
        table.add_row(name, *(f"{figure:.2f}" for figure in speed(tensor, levels, count)))
    Console().print(table)


def kinds(rng: np.random.Generator) -> Iterator[tuple[str, Tensor, Levels | None]]:
    spread = rng.uniform(0.5, 2, PER_CHANNEL)
    weight = (rng.normal(size=SHAPE) * spread).astype(np.float32)
    scale = (np.abs(weight).max(axis=(0, 1, 2), keepdims=True) / 127).astype(np.float32)
    zero = np.zeros(scale.shape, np.int32)
    grid = Grid(scale, zero, 8, (*SHAPE[:3], 1))
    yield "dense 8 bit", grid.values(np.rint(weight / scale).astype(np.int32)), grid
    yield "dense float32", weight, None
    sparse = weight * (rng.random(SHAPE) < 0.1)
    yield "90 % sparse float32", sparse.astype(np.float32), None
    whole = Grid(np.full((1, 1, 1, 1), 0.1, np.float32), zero[..., :1], 8, SHAPE)
    yield "90 % sparse grid", whole.values(np.rint(sparse).astype(np.int32)), whole


def speed(tensor: Tensor, levels: Levels | None, count: int) -> tuple[float, float, float]:
    """Bits a weight, millions of weights a second there and back."""
    stream = Stream.writing(never_cancelled)
    started = time.process_time()
    for _ in range(count):
        write_tensor(stream, tensor, levels)
    code = stream.finish()
    written = time.process_time()
    reading = Stream.reading(code, never_cancelled)
    for _ in range(count):
        again = read_tensor(reading, tensor.shape, tensor.dtype)
        if again.tobytes() != tensor.tobytes():
            raise SystemExit("what came back is not what was packed")
    read = time.process_time()
    weights = tensor.size * count
    there, back = weights / (written - started) / 1e6, weights / (read - written) / 1e6
    return len(code) * 8 / weights, there, back


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 25.0)
