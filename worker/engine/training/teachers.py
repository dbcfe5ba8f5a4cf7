"""A model whose answers are learned from, and those answers on disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.errors import StepFailed
from app.recipes.facts import shape_text
from app.recipes.task import Task, TaskKind
from worker.engine.context import StepContext
from worker.engine.loading.arrays import let_go
from worker.engine.loading.models import flat_outputs, heads, packed_inputs
from worker.engine.loading.splits import Split
from worker.engine.surgery.weights import named_weights
from worker.engine.training.logits import OutputIs, logits_of
from worker.engine.training.prediction import input_signature

Array = NDArray[Any]
Shape = tuple[int | None, ...]
Item = TypeVar("Item")

BATCH_SIZE = 256
# Of one output of one teacher. Beyond it (dense maps of large images) the teacher is asked anew.
CACHE_LIMIT_BYTES = 4 << 30
OUTPUT_IS: dict[str, OutputIs] = {
    "softmax": "probabilities",
    "sigmoid": "probabilities",
    "linear": "logits",
}


class Teacher:
    """Gives logits for the student's inputs, in the order of the student's outputs.

    The model is only run, at inference; nothing of it is changed.
    """

    def __init__(self, model: keras.Model, tasks: Sequence[Task], rows: Split) -> None:
        """Raises: StepFailed if it does not take these rows, or no logits can be read off it."""
        self.model = model
        self.tasks = tasks
        self._input_order = _input_order(model, rows)
        outputs = list(model.output_names) if hasattr(model, "output_names") else []
        names = [task.output for task in tasks]
        is_named = sorted(outputs) == sorted(names)
        self._output_order = [outputs.index(name) for name in names] if is_named else None
        self._output_is = [
            _output_is(model, activation, task)
            for activation, task in zip(self._activations(), tasks, strict=True)
        ]

    def check_outputs(self, student: keras.Model) -> None:
        """Raises: StepFailed if its outputs are not shaped like the student's."""
        ours = self._order([tuple(output.shape[1:]) for output in flat_outputs(self.model.outputs)])
        theirs = [tuple(output.shape[1:]) for output in flat_outputs(student.outputs)]
        is_alike = len(ours) == len(theirs) and all(map(_agree, ours, theirs))
        if not is_alike:
            raise StepFailed(
                f"the teacher {self.model.name!r} gives rows of the shape "
                f"{', '.join(map(shape_text, ours))}; the student gives "
                f"{', '.join(map(shape_text, theirs))}",
                hint="A teacher must have the outputs of its student: the same classes or values.",
            )

    def given(self, inputs: Sequence[Any]) -> Any:
        """The student's inputs, in its order, as this model is called with them; traceable."""
        specs = keras.tree.flatten(self.model.inputs)
        ordered = [
            tf.cast(inputs[index], spec.dtype)
            for index, spec in zip(self._input_order, specs, strict=True)
        ]
        return packed_inputs(self.model, ordered)

    def logits(self, outputs: Sequence[Any]) -> list[Any]:
        """Logits of what the model gave, in the order of the student's outputs; traceable."""
        return [
            logits_of(task.kind, output_is, output)
            for task, output_is, output in zip(
                self.tasks, self._output_is, self._order(outputs), strict=True
            )
        ]

    def answers(self, inputs: Sequence[Any]) -> list[Any]:
        """Logits for a batch; traceable."""
        return self.logits(flat_outputs(self.model(self.given(inputs), training=False)))

    def _activations(self) -> list[str]:
        """How each output ends, in the order of the student's."""
        found = [head.activation for head in heads(self.model, None)]
        if len(found) != len(self.tasks):
            raise StepFailed(
                f"the teacher {self.model.name!r} has {len(found)} outputs, its student "
                f"{len(self.tasks)}",
                hint="A teacher must have the outputs of its student.",
            )
        return self._order(found)

    def _order(self, of_outputs: Sequence[Item]) -> list[Item]:
        if self._output_order is None:
            return list(of_outputs)
        return [of_outputs[position] for position in self._output_order]


def model_fingerprint(model: keras.Model) -> str:
    """The same for models that compute the same: configuration and every weight."""
    digest = hashlib.sha256(model.to_json().encode())
    for weight in named_weights(model).values():
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


def _output_is(model: keras.Model, activation: str, task: Task) -> OutputIs:
    """How a head is scaled, as its own end tells."""
    if task.kind is TaskKind.REGRESSION:
        return "values"
    if activation not in OUTPUT_IS:
        raise StepFailed(
            f"an output of the teacher {model.name!r} ends in none of softmax, sigmoid, "
            "log_softmax or linear, so its answers cannot be turned into logits",
            hint="Name a teacher that ends in one of these.",
        )
    return OUTPUT_IS[activation]


def _agree(ours: Shape, theirs: Shape) -> bool:
    return len(ours) == len(theirs) and all(
        None in (here, there) or here == there for here, there in zip(ours, theirs, strict=True)
    )


def _input_order(model: keras.Model, rows: Split) -> list[int]:
    """Which column each input of the model takes: by name, else by position."""
    specs = keras.tree.flatten(model.inputs)
    names = list(rows.columns)
    wanted = [spec.name for spec in specs]
    is_named = sorted(wanted) == sorted(names)
    order = [names.index(name) for name in wanted] if is_named else list(range(len(names)))
    shapes = [rows.columns[names[index]].shape for index in order]
    fits = len(specs) == len(names) and all(
        _agree(tuple(spec.shape[1:]), shape) for spec, shape in zip(specs, shapes, strict=True)
    )
    if not fits:
        takes = ", ".join(shape_text(tuple(spec.shape[1:])) for spec in specs)
        given = ", ".join(map(shape_text, shapes))
        raise StepFailed(
            f"the teacher {model.name!r} takes rows of the shape {takes}; the data set has {given}",
            hint="A teacher must take the same inputs as its student.",
        )
    return order


def cached_answers(teacher: Teacher, rows: Split, context: StepContext) -> list[Array] | None:
    """Logits for every row, computed once: an array on disk an output, [rows, ...].

    The files lie in `context.scratch` under what the teacher and the rows are, so a later step of
    the job that asks the same finds them. None where they would be larger than
    `CACHE_LIMIT_BYTES`.
    Raises: Cancelled.
    """
    said = model_fingerprint(teacher.model).encode() + rows.rows.tobytes()
    stem = hashlib.sha256(said).hexdigest()[:32]
    folder = context.scratch / "teachers"
    paths = [folder / f"{stem}-{index}.npy" for index in range(len(teacher.tasks))]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        if not _write_answers(teacher, rows, context, paths):
            return None
    return [np.load(path, mmap_mode="r") for path in paths]


def _write_answers(
    teacher: Teacher, rows: Split, context: StepContext, paths: Sequence[Path]
) -> bool:
    """False where they are too large to be kept."""
    ask = tf.function(
        teacher.answers, input_signature=[input_signature(rows.columns)], autograph=False
    )
    unfinished = [path.with_suffix(".part") for path in paths]
    files: list[Array] = []
    size = rows.batch_size(BATCH_SIZE)
    for start in range(0, len(rows), size):
        context.check_cancelled()
        context.report_progress(0.0, f"asking the teacher: row {start} of {len(rows)}")
        batch = rows.fed(slice(start, start + size))
        answers = [answer.numpy() for answer in ask(list(batch.values()))]
        if not files:
            shapes = [(len(rows), *answer.shape[1:]) for answer in answers]
            if any(4 * np.prod(shape, dtype=np.int64) > CACHE_LIMIT_BYTES for shape in shapes):
                return False
            files = [
                np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
                for path, shape in zip(unfinished, shapes, strict=True)
            ]
        for file, answer in zip(files, answers, strict=True):
            file[start : start + len(answer)] = answer
            let_go(file)
    for file, part, path in zip(files, unfinished, paths, strict=True):
        file.flush()  # type: ignore[attr-defined]  # open_memmap is typed as a plain array
        part.rename(path)
    return True
