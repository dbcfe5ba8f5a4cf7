"""How good teachers are, on the rows that their student is validated on."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from app.recipes.task import Task
from worker.engine.context import StepContext
from worker.engine.loading.splits import Split
from worker.engine.measuring.accuracy import judge
from worker.engine.training.evaluation import BATCH_SIZE, Evaluation, summary
from worker.engine.training.prediction import input_signature
from worker.engine.training.teachers import Teacher


def evaluate_teacher(model: keras.Model, rows: Split, context: StepContext) -> Evaluation:
    """Figures of a teacher, whose inputs and outputs may have other names and another activation.

    Raises: StepFailed if it does not take these rows.
    """
    teacher = Teacher(model, context.tasks, rows)
    ask = tf.function(
        teacher.answers, input_signature=[input_signature(rows.columns)], autograph=False
    )
    batches = []
    for inputs, _ in rows.batches(BATCH_SIZE):
        context.check_cancelled()
        batches.append([answer.numpy() for answer in ask(list(inputs.values()))])
    answers = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return summary(
        tuple(
            judge(task, answer, rows.labels[task.output]).figures
            for task, answer in zip(_on_logits(context.tasks), answers, strict=True)
        )
    )


def _on_logits(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks as a teacher answers them: in logits, whatever the student's head ends in."""
    return [
        task.model_copy(update={"output_is": "logits"}) if task.is_classification else task
        for task in tasks
    ]
