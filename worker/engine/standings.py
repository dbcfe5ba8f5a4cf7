"""How the models of a job stand on validation rows; each is measured once."""

import keras

from app.recipes.steps import Step
from worker.engine.context import StepContext
from worker.engine.loading.splits import Split
from worker.engine.reporting.standing import Standing
from worker.engine.training.evaluation import evaluate


class Standings:
    """Remembers the uploaded model's and the latest; `latest` is null until one was measured."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._uploaded: dict[int, Standing | None] = {}
        self._known: tuple[keras.Model, int] | None = None
        self.latest: Standing | None = None

    def of(self, model: keras.Model | None, step: Step) -> Standing | None:
        """On the step's validation rows; null where there are none, or no score."""
        rows = self._context.validation_of(step)
        if rows is None or model is None:
            return None
        if self._known is None or self._known[0] is not model or self._known[1] != len(rows):
            self.latest = self._measured(model, rows)
            self._known = (model, len(rows))
        return self.latest

    def of_uploaded(self, step: Step) -> Standing | None:
        rows = self._context.validation_of(step)
        if rows is None or self._context.baseline is None:
            return None
        if len(rows) not in self._uploaded:
            self._uploaded[len(rows)] = self._measured(self._context.baseline, rows)
        return self._uploaded[len(rows)]

    def _measured(self, model: keras.Model, rows: Split) -> Standing | None:
        context = self._context
        figures = evaluate(model, rows, context.tasks, context.check_cancelled)
        if figures.score is None:
            return None
        return Standing(figures.score, len(rows), is_accuracy=figures.accuracy is not None)
