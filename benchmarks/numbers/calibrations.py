"""Accuracy of a model on its test rows when activations are rounded, after training.

    python -m benchmarks.numbers.calibrations model.keras data.npz --divisor 255

First int8 tflite files, by how their ranges were read; then the Keras model that simulates fewer
bits, by mapping. Ranges come from `--rows` training rows; inputs are divided by `--divisor`.
Nothing is trained and nothing chosen: every row of the table is printed once.
"""

import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from app.recipes.calibration import CalibrationMethod
from app.recipes.steps.activation_quantization import ActivationMapping
from benchmarks.numbers.engine_steps import Bench, options, step_of
from worker.engine.exporting.source import KerasSource
from worker.engine.techniques import technique

BITS = (8, 6, 4)


def main() -> None:
    given = options(__doc__, rows=500)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.of(given.model, given.data, given.divisor, Path(folder))
        print(
            f"{given.model.name}, {len(bench.data.test)} test rows; "
            f"float32 {_percent(bench.score(bench.model))}"
        )
        for calibration in get_args(CalibrationMethod):
            asked = {"calibration": calibration, "calibration_samples": given.rows}
            print(f"int8 tflite, {calibration:15}{_of_file(bench, asked)}", flush=True)
        print(f"{'simulated, range by mse':28}" + "".join(f"{bits:>6} bits" for bits in BITS))
        for mapping in get_args(ActivationMapping):
            asked = {"mapping": mapping, "calibration_samples": given.rows}
            scores = [_simulated(bench, {**asked, "num_bits": bits}) for bits in BITS]
            print(f"{mapping:28}" + "".join(f"{score:>11}" for score in scores), flush=True)


def _simulated(bench: Bench, parameters: dict[str, Any]) -> str:
    name = "activation_quantization"
    outcome = technique(name).apply(step_of(name, parameters), bench.model, bench.context)
    return _percent(bench.score(outcome.model))


def _of_file(bench: Bench, parameters: dict[str, Any]) -> str:
    """Of the int8 file of a model with one input and one output of classes."""
    name = "full_integer_quantization"
    with tempfile.TemporaryDirectory(dir=bench.context.scratch) as folder:
        source = KerasSource(bench.model, Path(folder), {})
        made = technique(name).convert(step_of(name, parameters), source, bench.context)
    interpreter = Interpreter(model_content=made.content, num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    found = interpreter.get_output_details()[0]["index"]
    right = 0
    for inputs, labels in bench.data.test.batches(500):
        (rows,), (classes,) = inputs.values(), labels.values()
        for row, wanted in zip(rows, np.ravel(classes), strict=True):
            interpreter.set_tensor(given, row[np.newaxis])
            interpreter.invoke()
            right += int(interpreter.get_tensor(found)[0].argmax() == wanted)
    return f"{made.variant:>9}{_percent(right / len(bench.data.test)):>9}"


def _percent(score: float) -> str:
    return f"{100 * score:.2f} %"


if __name__ == "__main__":
    main()
