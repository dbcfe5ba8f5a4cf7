"""Accuracy of a model on its test rows by bits, rounding and granularity; weights alone.

    python -m benchmarks.numbers.weight_quantization model.keras data.npz --divisor 255

Inputs are divided by `--divisor`. Rounding by chance is the median of three seeds; adaptive
rounding sees `--rows` training rows. Nothing is trained and nothing chosen by test rows.
"""

import argparse
import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import keras

from app.recipes.facts import DatasetOptions, ModelFormat
from app.recipes.recipe import Recipe
from worker.engine.context import StepContext
from worker.engine.loading.datasets import Dataset, load_dataset, read_tasks
from worker.engine.loading.models import OtherModels, heads, input_specs, load_as_saved
from worker.engine.loading.precision import in_float32
from worker.engine.order import DatasetFile
from worker.engine.techniques.weight_quantization import apply
from worker.engine.training.evaluation import evaluate

BITS = (8, 4, 3, 2)
GRANULARITIES = ("per_tensor", "per_channel", "per_group")
ROUNDINGS: dict[str, dict[str, Any]] = {
    "nearest": {},
    "nearest, mse range": {"range": "mse"},
    "stochastic": {"rounding": "stochastic"},
    "integer, unscaled": {"rounding": "integer", "integer_scaling": "none"},
    "adaptive": {"rounding": "adaptive"},
    "adaptive, mse range": {"rounding": "adaptive", "range": "mse"},
    "adaptive, mse, affine": {"rounding": "adaptive", "range": "mse", "symmetric": False},
}
SEEDS = (0, 1, 2)


def main() -> None:
    options = _options()
    model = in_float32(load_as_saved(options.model, ModelFormat.KERAS))
    data = _data(model, options.data, options.divisor)
    with tempfile.TemporaryDirectory() as folder:
        context = _context(model, data, Path(folder))
        print(f"{options.model.name}: float32 {100 * _score(model, data, context):.2f} %")
        print(f"{'accuracy on test rows in %':40}" + "".join(f"{bits:>3} bits" for bits in BITS))
        for (name, rounding), granularity in product(ROUNDINGS.items(), GRANULARITIES):
            seen = {"calibration_samples": options.rows} if "adaptive" in name else {}
            parameters = {**rounding, **seen, "granularity": granularity}
            scores = [_median(model, context, {**parameters, "num_bits": b}) for b in BITS]
            row = "".join(f"{100 * score:8.2f}" for score in scores)
            print(f"{name:27} {granularity:12}{row}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--divisor", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=1024)
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


def _median(model: keras.Model, context: StepContext, parameters: dict[str, Any]) -> float:
    seeds = SEEDS if parameters.get("rounding") == "stochastic" else SEEDS[:1]
    step: Any = Recipe.model_validate(
        {"steps": [{"technique": "weight_quantization", **parameters}]}
    ).steps[0]
    assert context.data is not None
    return statistics.median(
        _score(apply(step, model, _seeded(context, seed)).model, context.data, context)
        for seed in seeds
    )


def _seeded(context: StepContext, seed: int) -> StepContext:
    return StepContext(**{**vars(context), "seed": seed})


def _score(model: keras.Model, data: Dataset, context: StepContext) -> float:
    score = evaluate(model, data.test, context.tasks, context.check_cancelled).score
    return score if score is not None else float("nan")


if __name__ == "__main__":
    main()
