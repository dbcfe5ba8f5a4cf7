"""What a job is about: the model as it was uploaded, its data, and how both were understood."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from app.recipes.facts import Head, ModelFormat, TensorSpec, shape_text
from app.recipes.task import Task, TaskKind
from worker.engine.exporting.saved_model_source import SavedModelSource
from worker.engine.exporting.signature import RowShapes
from worker.engine.exporting.source import KerasSource, Source, TfliteSource
from worker.engine.loading.datasets import Dataset, load_dataset, read_tasks
from worker.engine.loading.faults import of_the_model
from worker.engine.loading.models import (
    heads,
    input_specs,
    load_as_saved,
    read_compile_config,
)
from worker.engine.loading.precision import in_float32, other_policies
from worker.engine.loading.random_rows import RANDOM_ROWS, random_rows
from worker.engine.loading.saved_models import SavedModel, load_saved_model
from worker.engine.loading.splits import Array
from worker.engine.loading.tokens import check_tokens, table_sizes
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.measuring.tflite_ports import tflite_heads, tflite_inputs
from worker.engine.order import ModelFile, Order
from worker.engine.quantizing.levels import LevelsByName

KIND_WORDS = {
    TaskKind.CLASSIFICATION: "one class of several",
    TaskKind.BINARY_CLASSIFICATION: "one of two classes",
    TaskKind.MULTI_LABEL: "several labels at once",
    TaskKind.REGRESSION: "real values",
}


@dataclass(frozen=True, eq=False)
class Subject:
    """The uploaded model with its data. `model` is null where the file has no Keras layers.

    It is then a SavedModel, or else the tflite file of `content`. `saved_in` names the policies
    other than float32 that layers of the file have.
    """

    model: keras.Model | None
    content: bytes
    inputs: tuple[TensorSpec, ...]
    heads: tuple[Head, ...]
    data: Dataset | None
    tasks: tuple[Task, ...]
    seed: int
    saved_in: tuple[str, ...] = ()
    saved_model: SavedModel | None = None

    @property
    def row_shapes(self) -> RowShapes:
        """Shapes of the data set's rows by input name; empty without data."""
        columns = self.data.test.columns if self.data else {}
        return {name: column.shape for name, column in columns.items()}

    def source(
        self, model: keras.Model | None, scratch: Path, levels: LevelsByName | None = None
    ) -> Source:
        """What conversions of `model` start from; of the uploaded file if there is no model."""
        if self.saved_model is not None:
            return SavedModelSource(self.saved_model, scratch, self.row_shapes)
        if model is None:
            return TfliteSource(self.content)
        return KerasSource(model, scratch, self.row_shapes, levels or {})

    @property
    def measured_count(self) -> int:
        """Rows that every file predicts."""
        return len(self.data.test) if self.data else RANDOM_ROWS

    def measured_batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Inputs of the test split in order, or random ones, by input name, [rows, ...]."""
        if self.data:
            for inputs, _ in self.data.test.batches(size):
                yield inputs
            return
        rng = np.random.default_rng(self.seed)
        sizes = {} if self.model is None else table_sizes(self.model, self.inputs)
        yield {spec.name: random_rows(spec, sizes.get(spec.name), rng) for spec in self.inputs}

    @property
    def compared(self) -> tuple[Task | None, ...]:
        """By output: what its decisions are, to see whether two models agree; null if unknown."""
        return self.tasks or tuple(_task_without_labels(head) for head in self.heads)

    def understood(self) -> tuple[str, ...]:
        """Sentences on how model and data were read."""
        sentences = [_input_sentence(spec, self.row_shapes) for spec in self.inputs]
        if self.saved_in:
            sentences.append(
                f"the model was saved with {' and '.join(self.saved_in)}; it is measured and "
                "exported in float32"
            )
        if self.data:
            sentences.append(
                f"{len(self.data.train)} rows to train on, {len(self.data.test)} to test on"
            )
            sentences += self.data.notes
        else:
            sentences.append(
                f"no data set: files were compared on {RANDOM_ROWS} random rows (standard normal, "
                f"or whole numbers; seed {self.seed}), so accuracy is not known"
            )
        sentences += [_task_sentence(task) for task in self.tasks]
        if self.data and not self.tasks:
            sentences.append("the data set has no labels, so accuracy is not known")
        return tuple(sentences)


def understand(order: Order, scratch: Path) -> Subject:
    """Load the model and its data; a SavedModel is unpacked in `scratch`.

    Raises: ModelNotLoadable, DataNotUsable.
    """
    with of_the_model("the model cannot be read"):
        read = _read(order.model, scratch)
    outputs = [head.output for head in read.heads]
    data = load_dataset(order.dataset, read.inputs, outputs) if order.dataset else None
    if read.model is not None and data is not None:
        check_tokens(read.model, data)
    tasks = read_tasks(read.heads, data) if data else ()
    return Subject(
        read.model,
        read.content,
        read.inputs,
        read.heads,
        data,
        tasks,
        order.recipe.seed,
        read.saved_in,
        read.saved_model,
    )


class _Read(NamedTuple):
    """What a file holds: a Keras model, the bytes of a tflite file, or a SavedModel."""

    inputs: tuple[TensorSpec, ...]
    heads: tuple[Head, ...]
    model: keras.Model | None = None
    content: bytes = b""
    saved_in: tuple[str, ...] = ()
    saved_model: SavedModel | None = None


def _read(file: ModelFile, scratch: Path) -> _Read:
    if file.format is ModelFormat.TFLITE:
        content = file.path.read_bytes()
        tflite = read_tflite(content)
        return _Read(tflite_inputs(tflite), tflite_heads(tflite), content=content)
    if file.format is ModelFormat.SAVED_MODEL:
        saved = load_saved_model(file.path, scratch / "uploaded")
        return _Read(saved.inputs, saved.heads, saved_model=saved)
    as_saved = load_as_saved(file.path, file.format)
    model = in_float32(as_saved)
    ends = heads(model, read_compile_config(file.path, file.format))
    return _Read(input_specs(model), ends, model=model, saved_in=other_policies(as_saved))


def _task_without_labels(head: Head) -> Task | None:
    """How a head decides, where its activation tells; a linear one may be anything."""
    kinds = {
        "softmax": TaskKind.CLASSIFICATION,
        "sigmoid": TaskKind.BINARY_CLASSIFICATION if head.units == 1 else TaskKind.MULTI_LABEL,
    }
    if head.activation not in kinds:
        return None
    return Task(
        output=head.output,
        kind=kinds[head.activation],
        output_is="probabilities",
        labels_are="integer",
        class_count=head.units,
        because=f"it ends in {head.activation}",
    )


def _input_sentence(spec: TensorSpec, row_shapes: RowShapes) -> str:
    sentence = f"input {spec.name!r} takes {spec.dtype} rows of shape {shape_text(spec.shape)}"
    if None in (spec.shape or ()) and spec.name in row_shapes:
        fixed = shape_text(row_shapes[spec.name])
        sentence += f"; a tflite file is fixed at the data set's {fixed}"
    return sentence


def _task_sentence(task: Task) -> str:
    labels = task.labels_are.replace("_", "-")
    return (
        f"output {task.output!r} predicts {KIND_WORDS[task.kind]} ({task.because}); it gives "
        f"{task.output_is}, the labels are {labels}"
    )
