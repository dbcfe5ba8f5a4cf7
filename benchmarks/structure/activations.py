"""Milliseconds of every activation behind one convolution, in float32 and in int8 files.

    python -m benchmarks.structure.activations

Random weights and rows; 64 x 64 x 16 values an activation, batch 1, one thread, all interleaved.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from app.recipes.activations import INT8_OPERATORS
from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import convert_full_integer
from worker.engine.measuring.latency import Invoke, interleaved

SIZE = (64, 64, 8)
SECONDS = 12.0


def main() -> None:
    names = ["linear", *INT8_OPERATORS]
    rows = np.random.default_rng(0).standard_normal((8, *SIZE)).astype("float32")
    files = [_files(name, rows) for name in names]
    latencies = interleaved([_invoke(content) for pair in files for content in pair], SECONDS)
    print(f"{'activation':14} {'float32 ms':>10} {'int8 ms':>10}  int8 operators")
    for index, name in enumerate(names):
        in_float, in_int8 = latencies[2 * index : 2 * index + 2]
        operators = " ".join(INT8_OPERATORS.get(name, ())) or "-"
        print(f"{name:14} {in_float.ms_p50:10.3f} {in_int8.ms_p50:10.3f}  {operators}")


def _files(activation: str, rows: np.ndarray) -> tuple[bytes, bytes]:
    """A convolution with this activation and one without: the float32 and the int8 file."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SIZE, name="x"),
            layers.Conv2D(16, 1, activation=activation),
            layers.Conv2D(4, 1),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        source = KerasSource(model, Path(folder), {})
        int8 = convert_full_integer(
            source.saved_model_for_tflite(), {"x": rows}, activation_bits=8, io="integer"
        )
        return source.float32(), int8


def _invoke(content: bytes) -> Invoke:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    invoke: Invoke = interpreter.invoke
    return invoke


if __name__ == "__main__":
    main()
