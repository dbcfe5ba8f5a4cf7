"""Accuracy of a model on its test rows when activations are rounded, after training.

    python -m benchmarks.numbers.calibrations model.keras data.npz --divisor 255

First int8 tflite files, by how their ranges were read; then the Keras model that simulates fewer
bits, by mapping. Ranges come from `--rows` training rows; inputs are divided by `--divisor`.
Nothing is trained and nothing chosen: every row of the table is printed once.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from app.recipes.calibration import CalibrationMethod
from app.recipes.facts import DatasetOptions, ModelFormat
from app.recipes.recipe import Recipe
from app.recipes.steps.activation_quantization import ActivationMapping
from worker.engine.context import StepContext
from worker.engine.exporting.source import KerasSource
from worker.engine.loading.datasets import Dataset, load_dataset, read_tasks
from worker.engine.loading.models import OtherModels, heads, input_specs, load_as_saved
from worker.engine.loading.precision import in_float32
from worker.engine.order import DatasetFile
from worker.engine.techniques import technique
from worker.engine.training.evaluation import evaluate

BITS = (8, 6, 4)


def main() -> None:
    options = _options()
    model = in_float32(load_as_saved(options.model, ModelFormat.KERAS))
    data = _data(model, options.data, options.divisor)
    with tempfile.TemporaryDirectory() as folder:
        context = _context(model, data, Path(folder))
        print(f"{options.model.name}, {len(data.test)} test rows; float32 {_score(model, context)}")
        for calibration in get_args(CalibrationMethod):
            asked = {"calibration": calibration, "calibration_samples": options.rows}
            print(f"int8 tflite, {calibration:15}{_of_file(model, context, asked)}", flush=True)
        print(f"{'simulated, range by mse':28}" + "".join(f"{bits:>6} bits" for bits in BITS))
        for mapping in get_args(ActivationMapping):
            asked = {"mapping": mapping, "calibration_samples": options.rows}
            scores = [_simulated(model, context, {**asked, "num_bits": bits}) for bits in BITS]
            print(f"{mapping:28}" + "".join(f"{score:>11}" for score in scores), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--divisor", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=500)
    return parser.parse_args()


def _data(model: keras.Model, path: Path, divisor: float) -> Dataset:
    scaling = DatasetOptions(scale=1 / divisor)
    file = DatasetFile(path=path, format="npz", sha256="0" * 64, options=scaling)
    return load_dataset(file, input_specs(model), [head.output for head in heads(model, None)])


def _context(model: keras.Model, data: Dataset, folder: Path) -> StepContext:
    return StepContext(
        seed=0,
        data=data,
        tasks=read_tasks(heads(model, None), data),
        masks={},
        report_progress=lambda fraction, message, **metrics: None,
        check_cancelled=lambda: None,
        baseline=model,
        load_model=OtherModels({}),
        scratch=folder,
    )


def _step(name: str, parameters: dict[str, Any]) -> Any:
    return Recipe.model_validate({"steps": [{"technique": name, **parameters}]}).steps[0]


def _simulated(model: keras.Model, context: StepContext, parameters: dict[str, Any]) -> str:
    name = "activation_quantization"
    outcome = technique(name).apply(_step(name, parameters), model, context)
    return _score(outcome.model, context)


def _score(model: keras.Model, context: StepContext) -> str:
    assert context.data is not None
    return _percent(
        evaluate(model, context.data.test, context.tasks, context.check_cancelled).score
    )


def _of_file(model: keras.Model, context: StepContext, parameters: dict[str, Any]) -> str:
    """Of the int8 file of a model with one input and one output of classes."""
    assert context.data is not None
    name = "full_integer_quantization"
    with tempfile.TemporaryDirectory(dir=context.scratch) as folder:
        source = KerasSource(model, Path(folder), {})
        made = technique(name).convert(_step(name, parameters), source, context)
    interpreter = Interpreter(model_content=made.content, num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    found = interpreter.get_output_details()[0]["index"]
    right = 0
    for inputs, labels in context.data.test.batches(500):
        (rows,), (classes,) = inputs.values(), labels.values()
        for row, wanted in zip(rows, np.ravel(classes), strict=True):
            interpreter.set_tensor(given, row[np.newaxis])
            interpreter.invoke()
            right += int(interpreter.get_tensor(found)[0].argmax() == wanted)
    return f"{made.variant:>9}{_percent(right / len(context.data.test)):>9}"


def _percent(score: float | None) -> str:
    return "unknown" if score is None else f"{100 * score:.2f} %"


if __name__ == "__main__":
    main()
