"""How well a Keras model does on labelled rows: for reports of steps and to choose an epoch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from numpy.typing import NDArray

from app.recipes.task import Task
from app.reports.report import HeadMeasurement
from worker.engine.loading.splits import Split
from worker.engine.measuring.accuracy import Tally
from worker.engine.training.prediction import Predictor

BATCH_SIZE = 256


@dataclass(frozen=True)
class Evaluation:
    """Figures over all outputs: accuracies and errors averaged, losses summed; null = no such."""

    accuracy: float | None
    loss: float
    mse: float | None
    mae: float | None
    r2: float | None
    heads: tuple[HeadMeasurement, ...]

    @property
    def score(self) -> float | None:
        """The figure a step is judged by: accuracy, or r2 where nothing is classified."""
        return self.accuracy if self.accuracy is not None else self.r2


# Inputs by name -> outputs in the model's order, as a Predictor gives them.
Predict = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]


@dataclass(frozen=True)
class Evaluator:
    """Measures the same rows again and again; `predict` belongs to the model being changed.

    Memory is that of one batch, however many rows there are.
    """

    predict: Predict
    split: Split
    tasks: Sequence[Task]
    check_cancelled: Callable[[], None]

    def __call__(self) -> Evaluation:
        tallies = [Tally(task) for task in self.tasks]
        for inputs, labels in self.split.batches(self.split.batch_size(BATCH_SIZE)):
            self.check_cancelled()
            outputs = self.predict(inputs)
            for task, tally, output in zip(self.tasks, tallies, outputs, strict=True):
                tally.add(output, labels[task.output])
        return summary(tuple(tally.figures() for tally in tallies))


def evaluate(
    model: keras.Model,
    split: Split,
    tasks: Sequence[Task],
    check_cancelled: Callable[[], None],
) -> Evaluation:
    """Every figure of a model on these rows; tasks in the order of the model's outputs."""
    return Evaluator(Predictor(model, split.columns), split, tasks, check_cancelled)()


def summary(heads: tuple[HeadMeasurement, ...]) -> Evaluation:
    """One evaluation out of the outputs' figures."""
    return Evaluation(
        accuracy=_mean([head.accuracy for head in heads]),
        loss=sum(head.loss for head in heads if head.loss is not None),
        mse=_mean([head.mse for head in heads]),
        mae=_mean([head.mae for head in heads]),
        r2=_mean([head.r2 for head in heads]),
        heads=heads,
    )


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else None
