"""How good teachers are, on the rows that their student is validated on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from app.recipes.task import Task
from worker.engine.context import StepContext
from worker.engine.loading.splits import Split
from worker.engine.training.evaluation import Evaluation, Evaluator
from worker.engine.training.prediction import input_signature
from worker.engine.training.teachers import Teacher

Array = NDArray[Any]


def evaluate_teacher(model: keras.Model, rows: Split, context: StepContext) -> Evaluation:
    """Figures of a teacher, whose inputs and outputs may have other names and another activation.

    Raises: StepFailed if it does not take these rows.
    """
    teacher = Teacher(model, context.tasks, rows)
    ask = tf.function(
        teacher.answers, input_signature=[input_signature(rows.columns)], autograph=False
    )
    tasks = _on_logits(context.tasks)
    return Evaluator(_Answers(ask), rows, tasks, context.check_cancelled)()


@dataclass(frozen=True)
class _Answers:
    """A compiled teacher as an `Evaluator` calls it."""

    ask: Callable[[Sequence[Array]], Sequence[Any]]

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [answer.numpy() for answer in self.ask(list(inputs.values()))]


def _on_logits(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks as a teacher answers them: in logits, whatever the student's head ends in."""
    return [
        task.model_copy(update={"output_is": "logits"}) if task.is_classification else task
        for task in tasks
    ]
