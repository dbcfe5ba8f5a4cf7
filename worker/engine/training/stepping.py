"""Optimizer steps of one training, carried out here or shared with other processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import StepFailed
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.loading.splits import Split
from worker.engine.training.batches import Batches
from worker.engine.training.gradients.figures import coding_figures
from worker.engine.training.gradients.team import Place, Team
from worker.engine.training.interventions import Interventions
from worker.engine.training.lessons import Lessons
from worker.engine.training.losses import head_losses
from worker.engine.training.optimizers import optimizer
from worker.engine.training.targets import targets
from worker.engine.training.teaching import Teaching
from worker.engine.training.update import Update, compiled

Array = NDArray[Any]


class Stepper:
    """The compiled update of a model with all it needs for a batch.

    `variables` are all that steps change; `chosen` those of which the best epoch's values are kept.
    """

    def __init__(
        self,
        model: keras.Model,
        context: StepContext,
        options: Recovery,
        interventions: Interventions,
        rows: Split,
        teaching: Teaching | None,
    ) -> None:
        """Raises: StepFailed if a teacher does not fit, or processes are to share what they cannot.

        Also Cancelled: teachers may be asked here.
        """
        self._options = options
        found = [targets(task, rows.labels[task.output]) for task in context.tasks]
        self._batches = Batches(rows, found, options.augmentation, context.seed)
        self._lessons = _lessons(teaching, model, context, options, rows) if teaching else None
        self._update = Update(
            model,
            optimizer(options, context.optimizer_steps(options), context.seed),
            head_losses(options, context.tasks, found),
            interventions.zeros,
            self._lessons,
            interventions.reparametrization,
        )
        self.variables = [*model.variables, *self._update.variables_beside]
        self.chosen = [*model.weights, *self._update.reparametrized]
        self._team: Team | None = None
        if options.workers > 1:
            _check_shareable(options, interventions, teaching)
            self._team = Team(self._update, self._batches, context, options)
        else:
            self._compiled = compiled(self._update, rows, found, options.dtype)

    def __call__(self, positions: NDArray[np.int64], step: int, *, is_saved: bool) -> float:
        """One step, `step` from 0 on. Returns: the batch's loss before it.

        `is_saved`: the state after it is asked for next, that of `others` included.
        """
        if self._team:
            return self._team.step(positions, step, is_saved=is_saved)
        answers = self._lessons.answers(positions) if self._lessons else []
        inputs, labels = self._batches.inputs(positions, step), self._batches.labels(positions)
        return float(self._compiled(inputs, labels, answers))

    @contextmanager
    def together(self, place: Place, states: Mapping[int, Sequence[Array]]) -> Iterator[None]:
        """With the other processes of a shared training, which go on from `place` and `states`.

        Raises: ReplicaLost; Cancelled.
        """
        if self._team is None:
            yield
            return
        try:
            self._team.start(place, self.variables, states)
            yield
            self._team.finish()
        finally:
            self._team.close()

    def others(self) -> dict[int, list[Array]]:
        """What each of the other processes has of its own, by its rank."""
        return self._team.states() if self._team else {}

    def coding(self, seconds_per_step: float | None) -> dict[str, Any] | None:
        """Figures of coded gradients; null where they are not coded."""
        if self._options.gradient_quantization is None:
            return None
        return coding_figures(self._update.coding_optimizer, self._team, seconds_per_step)


def _lessons(
    teaching: Teaching, model: keras.Model, context: StepContext, options: Recovery, rows: Split
) -> Lessons:
    return Lessons(teaching, model, context, rows, is_augmented=options.augmentation is not None)


def _check_shareable(
    options: Recovery, interventions: Interventions, teaching: Teaching | None
) -> None:
    """Recipes that ask for it are refused at the door; this is for techniques to come."""
    if interventions.reparametrization or interventions.after_step or teaching:
        raise StepFailed(
            f"this training cannot be divided over {options.workers} processes: what happens "
            "between its optimizer steps is known to one only",
            hint="Leave gradient_quantization.workers out.",
        )
