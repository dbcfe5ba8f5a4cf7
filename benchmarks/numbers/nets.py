"""MNIST and the two LeNets, and a recipe carried out on them without the service around it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.recipes.facts import DatasetOptions
from app.recipes.recipe import Recipe
from benchmarks.numbers.engine_jobs import SCALE, write_digits
from worker.engine.coding.packing import pack
from worker.engine.coding.unpacking import unpack
from worker.engine.context import StepContext
from worker.engine.exporting.keras_file import write_keras
from worker.engine.loading.datasets import load_dataset, read_tasks
from worker.engine.loading.models import OtherModels, heads, input_specs
from worker.engine.order import DatasetFile
from worker.engine.quantizing.levels import Grid, LevelsByName, held
from worker.engine.rate.latents import per_tensor_grid
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import technique
from worker.engine.training.prediction import Predictor

Array = NDArray[Any]


@dataclass(frozen=True)
class Made:
    """What a recipe came to: the model, its levels, its score on validation rows, what it took."""

    model: keras.Model
    levels: LevelsByName
    score: float
    facts: tuple[dict[str, Any], ...] = ()
    cpu_s: float = 0.0

    def write(self, path: Path) -> None:
        """Keep the model, and beside it the step of each of its weights."""
        self.model.save(path)
        steps = {
            name: float(one.scale.ravel()[0])
            for name, one in self.levels.items()
            if isinstance(one, Grid)
        }
        told = {"score": self.score, "cpu_s": self.cpu_s, "steps": steps, "facts": self.facts}
        path.with_suffix(".json").write_text(json.dumps(told))

    @classmethod
    def read(cls, path: Path) -> "Made":
        model = keras.models.load_model(path)
        told = json.loads(path.with_suffix(".json").read_text())
        weights = {name: one.numpy() for name, one in named_weights(model).items()}
        levels = {}
        for name, step in told["steps"].items():
            numbers = np.rint(weights[name] / step).astype(np.int32)
            levels[name] = per_tensor_grid(np.float32(step), numbers, numbers.shape)
        return cls(model, levels, told["score"], tuple(told["facts"]), told["cpu_s"])


@dataclass(frozen=True)
class Packed:
    """A packed file read back: its size, that without the architecture, and the model in it."""

    packed_bytes: int
    weights_bytes: int
    model: keras.Model


def packed_and_back(made: Made, folder: Path) -> Packed:
    """Pack a model and read it back; the folder is for the files in between."""
    path, again = folder / "to_pack.keras", folder / "unpacked.keras"
    write_keras(made.model, path)
    weights = named_weights(made.model)
    leveled = [(weights[name].numpy(), one) for name, one in made.levels.items()]
    packed = pack(path, leveled, _never)
    unpack(packed.content, again, _never)
    return Packed(len(packed.content), packed.weights_bytes, keras.models.load_model(again))


@dataclass(frozen=True)
class Laboratory:
    """A net and the digits it is compressed and judged with."""

    model: keras.Model
    data: DatasetFile
    folder: Path

    @classmethod
    def open(cls, mnist: Path, model: Path, folder: Path, *, choosing: bool) -> "Laboratory":
        """choosing: judged on the last 5,000 training digits, which are not trained on then."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ("choose.npz" if choosing else "report.npz")
        write_digits(mnist, path, choosing=choosing)
        options = DatasetOptions(scale=SCALE)
        file = DatasetFile(path=path, format="npz", sha256="0" * 64, options=options)
        return cls(keras.models.load_model(model), file, folder)

    def made(self, recipe: Recipe, *, is_told: bool = False) -> Made:
        """Carry out the transforms of a recipe, one on the model the last one made."""
        context, model = self._context(recipe.seed, is_told=is_told), self.model
        facts = []
        for step in recipe.transforms:
            outcome = technique(step.technique).apply(step, model, context)
            model = outcome.model
            levels = held({**context.levels, **outcome.levels}, model)
            context = replace(context, masks=outcome.masks, lineage=outcome.lineage, levels=levels)
            facts.append(outcome.facts)
        score = facts[-1]["validation_score"][facts[-1]["kept_epoch"] - 1]
        return Made(model, context.levels, score, tuple(facts))

    def error_percent(self, model: keras.Model) -> float:
        """Of the digits that judge."""
        split = self._dataset().test
        predict = Predictor(model, split.columns)
        wrong = 0
        for inputs, labels in split.batches(1000):
            (answers,) = predict(inputs)
            (truth,) = labels.values()
            wrong += int((answers.argmax(-1) != truth).sum())
        return 100 * wrong / len(split)

    def _dataset(self) -> Any:
        ends = heads(self.model, None)
        return load_dataset(self.data, input_specs(self.model), [end.output for end in ends])

    def _context(self, seed: int, *, is_told: bool) -> StepContext:
        data = self._dataset()
        return StepContext(
            seed=seed,
            data=data,
            tasks=read_tasks(heads(self.model, None), data),
            masks={},
            report_progress=Teller(is_told=is_told),
            check_cancelled=_never,
            baseline=self.model,
            load_model=OtherModels({}),
            scratch=self.folder,
        )


@dataclass
class Teller:
    """Prints how far a step is, once a percent."""

    is_told: bool
    said: int = -1

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        percent = int(100 * fraction)
        if self.is_told and percent // 5 != self.said:
            self.said = percent // 5
            print(f"  {percent:3d} %  {message}", flush=True)


def _never() -> None:
    """Nobody cancels a benchmark."""
