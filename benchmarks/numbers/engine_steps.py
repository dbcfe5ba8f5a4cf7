"""Single steps on a model file and an `.npz` of data: no job, nothing exported."""

import argparse
from dataclasses import dataclass
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
from worker.engine.training.evaluation import evaluate


@dataclass(frozen=True)
class Bench:
    """A model, its data, and what a step is given beside them."""

    model: keras.Model
    data: Dataset
    context: StepContext

    @classmethod
    def of(cls, model: Path, data: Path, divisor: float, scratch: Path) -> "Bench":
        """Inputs are divided by `divisor`."""
        loaded = in_float32(load_as_saved(model, ModelFormat.KERAS))
        scaling = DatasetOptions(scale=1 / divisor)
        file = DatasetFile(path=data, format="npz", sha256="0" * 64, options=scaling)
        ends = heads(loaded, None)
        rows = load_dataset(file, input_specs(loaded), [end.output for end in ends])
        context = StepContext(
            seed=0,
            data=rows,
            tasks=read_tasks(ends, rows),
            masks={},
            report_progress=lambda fraction, message, **metrics: None,
            check_cancelled=lambda: None,
            baseline=loaded,
            load_model=OtherModels({}),
            scratch=scratch,
        )
        return cls(loaded, rows, context)

    def score(self, model: keras.Model) -> float:
        """On test rows; NaN where there are no labels."""
        context = self.context
        found = evaluate(model, self.data.test, context.tasks, context.check_cancelled).score
        return float("nan") if found is None else found


def step_of(name: str, parameters: dict[str, Any]) -> Any:
    """A step as a recipe would hold it, checked."""
    return Recipe.model_validate({"steps": [{"technique": name, **parameters}]}).steps[0]


def options(description: str | None, rows: int) -> argparse.Namespace:
    """Model, data, `--divisor`, `--rows` (default: `rows`)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--divisor", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=rows)
    return parser.parse_args()
