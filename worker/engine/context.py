"""What a step is given besides the model, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from app.recipes.steps.base import Step
from app.recipes.steps.recovery import Recovery, optimizer_steps
from app.recipes.task import Task
from app.reports.report import SkippedLayer
from worker.engine.exporting.signature import RowShapes
from worker.engine.loading.datasets import Dataset, Split
from worker.engine.quantizing.levels import LevelsByName
from worker.engine.surgery.lineage import Lineage
from worker.engine.training.checkpoints import Checkpoints

BoolArray = NDArray[np.bool_]

# Stable weight name (surgery/weights.py) -> True where it is kept. What is False stays zero for
# the rest of the recipe, whatever trains later.
Masks = Mapping[str, BoolArray]

# Raises: ModelNotLoadable.
LoadModel = Callable[[str], keras.Model]

DEFAULT_VALIDATION_FRACTION: float = Recovery.model_fields["validation_fraction"].default


class ReportProgress(Protocol):
    """Called as often as one likes; the listener throttles.

    `fraction` is that of the step, in [0, 1].
    """

    def __call__(self, fraction: float, message: str, **metrics: float) -> None: ...


@dataclass(frozen=True)
class StepContext:
    """Everything a step may use besides its own parameters and the model.

    `check_cancelled` raises Cancelled once the job is to stop; call it at every batch. `baseline`
    is the uploaded model as it was; `load_model` gives another uploaded one by its id. `scratch` is
    a folder for what is too large for memory; it goes with the job. `checkpoints` is where
    trainings leave what a later attempt of the job goes on from. `lineage` says what the model has
    of the uploaded one; `levels` on which few values its quantized and clustered weights lie.
    `better_teacher` is the model that the step was given, where it does clearly better on
    validation rows than `baseline` and the step has no teacher named.
    """

    seed: int
    data: Dataset | None
    tasks: tuple[Task, ...]
    masks: Masks
    report_progress: ReportProgress
    check_cancelled: Callable[[], None]
    baseline: keras.Model | None
    load_model: LoadModel
    scratch: Path
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    lineage: Lineage = field(default_factory=Lineage)
    levels: LevelsByName = field(default_factory=dict)
    better_teacher: keras.Model | None = None

    def divided(self, validation_fraction: float) -> tuple[Split, Split | None]:
        """Training rows and validation rows, both out of the training split; test is never touched.

        The rows of a smaller fraction are among those of a larger one, so two steps with different
        fractions do not validate on what the other trained on more than they must.
        Raises: ValueError if there is no data; the recipe was checked for that.
        """
        return self._training_rows().divided(validation_fraction, seed=self.seed)

    def optimizer_steps(self, training: Recovery) -> int:
        """Those of a training on this job's rows.

        Raises: ValueError if there is no data; the recipe was checked for that.
        """
        return optimizer_steps(len(self._training_rows()), training)

    @property
    def row_shapes(self) -> RowShapes:
        """Shapes of the data set's rows by input name; empty without data."""
        columns = self.data.train.columns if self.data else {}
        return {name: column.shape for name, column in columns.items()}

    def validation_of(self, step: Step) -> Split | None:
        """The rows a step's accuracies are measured on; None without labelled data."""
        if self.data is None or not self.tasks:
            return None
        training = step.training()
        fraction = training.validation_fraction if training else DEFAULT_VALIDATION_FRACTION
        return self.divided(fraction)[1]

    def _training_rows(self) -> Split:
        if self.data is None:
            raise ValueError("this step trains, but the job has no data set")
        return self.data.train


@dataclass(frozen=True)
class StepOutcome:
    """A new model and what is to be known about it.

    `accuracy_after_change` (r2 for regression) is that of the validation rows before any recovery;
    None where nothing trained after the change or there are no labels. `facts` are plain JSON,
    `warnings` sentences for the report. `masks` and `lineage` go to the next step; a step that
    takes no weight out and adds none passes on the lineage it was given. `levels` are those that
    this step gave to weights; earlier ones stay with every weight that still lies on them.
    """

    model: keras.Model
    masks: Masks
    lineage: Lineage
    levels: LevelsByName = field(default_factory=dict)
    accuracy_after_change: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[SkippedLayer, ...] = ()
    warnings: tuple[str, ...] = ()
