"""Teaching made ready for one training: what is asked of teachers, and what comes of it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.errors import StepFailed
from app.recipes.task import TaskKind
from worker.engine.context import StepContext
from worker.engine.loading.arrays import let_go
from worker.engine.loading.models import flat_outputs
from worker.engine.loading.splits import Split
from worker.engine.training.features import Features
from worker.engine.training.logits import logits_of
from worker.engine.training.soft_losses import soft_loss
from worker.engine.training.teachers import Teacher, cached_answers
from worker.engine.training.teaching import Teaching

Array = NDArray[Any]


class Lessons:
    """Answers of the teachers for each batch, and the losses that follow from them.

    Answers are read from disk, where they were written once. Teachers run on the batch itself where
    that cannot be: rows that augmentation makes anew each time, or answers too large to keep. So
    does the first one where its hidden features are asked for: its answers come with them.
    """

    def __init__(
        self,
        teaching: Teaching,
        student: keras.Model,
        context: StepContext,
        rows: Split,
        *,
        is_augmented: bool = False,
    ) -> None:
        """Raises: StepFailed if teacher and student do not fit; Cancelled."""
        self._teaching = teaching
        self._tasks = context.tasks
        self._teachers = [Teacher(model, context.tasks, rows) for model in teaching.teachers]
        for teacher in self._teachers:
            teacher.check_outputs(student)
        _check_cosine(teaching, student, context)
        # The features are the first teacher's: those of several have no common coordinates.
        self._features = (
            Features(teaching.features, student, teaching.teachers[0], context.seed)
            if teaching.features
            else None
        )
        self._asked_once = self._teachers[1:] if self._features else self._teachers
        self._cached = None if is_augmented else self._cache(rows, context)

    @property
    def is_cached(self) -> bool:
        """Whether what need not be asked on each batch is on disk."""
        return self._cached is not None

    @property
    def trainable_variables(self) -> list[Any]:
        """Those that train beside the student's and are not part of it."""
        return self._features.trainable_variables if self._features else []

    def runner(self, student: keras.Model) -> keras.Model:
        """What is called in place of the student: it gives hidden outputs as well."""
        return self._features.of_student if self._features else student

    def answers(self, positions: NDArray[np.int64]) -> list[Array]:
        """Mean logits for these rows from disk, an array an output; none where not kept.

        The mean is over the teachers that do not run on each batch.
        """
        means = []
        for files in self._cached or ():
            means.append(np.stack([file[positions] for file in files]).mean(0, dtype=np.float32))
            for file in files:
                let_go(file)
        return means

    @property
    def signature(self) -> list[tf.TensorSpec]:
        """Of `answers`."""
        return [
            tf.TensorSpec((None, *files[0].shape[1:]), tf.float32) for files in self._cached or ()
        ]

    def loss(
        self, hard: Any, outputs: Sequence[Any], inputs: Sequence[Any], answers: Sequence[Any]
    ) -> Any:
        """The loss of a batch out of its hard loss; traceable.

        Args:
            outputs: of the `runner`.
            inputs: of the student, in its order.
            answers: what `answers` gave for this batch.
        """
        teaching = self._teaching
        given, hidden = outputs[: len(self._tasks)], outputs[len(self._tasks) :]
        asked, theirs = self._ask(inputs, answers)
        soft = tf.add_n(
            [
                soft_loss(
                    task.kind,
                    teaching.soft_loss,
                    teaching.temperature,
                    tf.stop_gradient(answer),
                    logits_of(task.kind, task.output_is, output),
                )
                for task, answer, output in zip(self._tasks, asked, given, strict=True)
            ]
        )
        weight = teaching.distillation_weight
        # Not 0 x hard: a hard loss that is not asked for may be infinite.
        total = soft if weight == 1 else (1 - weight) * hard + weight * soft
        if self._features is None:
            return total
        compared = self._features.loss(hidden, [tf.stop_gradient(tensor) for tensor in theirs])
        return total + teaching.feature_weight * compared

    def _cache(self, rows: Split, context: StepContext) -> list[list[Array]] | None:
        """By output, the files of each teacher; None where one could not be kept."""
        kept = []
        for teacher in self._asked_once:
            files = cached_answers(teacher, rows, context)
            if files is None:
                return None
            kept.append(files)
        return [list(files) for files in zip(*kept, strict=True)]

    def _ask(
        self, inputs: Sequence[Any], answers: Sequence[Any]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """Mean logits of all teachers for a batch, and the first one's features."""
        hidden: Sequence[Any] = ()
        said = []
        if self._features:
            first = self._teachers[0]
            given = keras.tree.flatten(first.given(inputs))
            outputs = flat_outputs(self._features.of_teacher(given, training=False))
            said.append(first.logits(outputs[: len(self._tasks)]))
            hidden = outputs[len(self._tasks) :]
        if not self.is_cached:
            said.extend(teacher.answers(inputs) for teacher in self._asked_once)
        if not said:
            return answers, hidden
        if answers:
            said.append([len(self._asked_once) * answer for answer in answers])
        count = len(self._teachers)
        return [tf.add_n(list(parts)) / count for parts in zip(*said, strict=True)], hidden


def _check_cosine(teaching: Teaching, student: keras.Model, context: StepContext) -> None:
    if teaching.soft_loss != "cosine":
        return
    outputs = flat_outputs(student.outputs)
    for task, output in zip(context.tasks, outputs, strict=True):
        if task.kind is not TaskKind.REGRESSION and output.shape[-1] == 1:
            raise StepFailed(
                f"soft_loss is cosine, but output {task.output!r} is one unit: the cosine of two "
                "numbers is only their sign",
                hint="Use kl or mse.",
            )
