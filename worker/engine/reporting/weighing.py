"""What the models of a job consist of, before and after: parameters, work, layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from app.reports.report import LayerReport
from worker.engine.exporting.files import ExportedFile
from worker.engine.measuring.layers import Stored, layer_table, tflite_layer_table
from worker.engine.measuring.macs import macs_by_layer, total
from worker.engine.measuring.sizes import ParameterCounts, count_parameters
from worker.engine.measuring.tflite_file import TfliteFile, read_tflite
from worker.engine.measuring.tflite_macs import tflite_macs
from worker.engine.subject import Subject

Shapes = Sequence[tuple[int | None, ...]]


@dataclass(frozen=True)
class Weight:
    """What a model is, whichever file it is in."""

    counts: ParameterCounts
    macs: int | None


@dataclass(frozen=True)
class Weights:
    """Both sides, and the optimized model layer by layer."""

    baseline: Weight
    optimized: Weight
    layers: tuple[LayerReport, ...]


def weigh(
    subject: Subject,
    optimized: keras.Model | None,
    files: tuple[ExportedFile, ExportedFile],
) -> Weights:
    """Weigh the Keras models, or the files themselves where a tflite file was uploaded.

    `files`: baseline and optimized, of the kind that is compared.
    """
    read = tuple(
        read_tflite(file.path.read_bytes()) if file.kind == "tflite" else None for file in files
    )
    if subject.model is None or optimized is None:
        return _of_files(*(file for file in read if file is not None))
    shapes = [subject.row_shapes.get(spec.name, spec.shape or ()) for spec in subject.inputs]
    before, after = Stored(subject.model, read[0]), Stored(optimized, read[1])
    macs = macs_by_layer(optimized, shapes)
    return Weights(
        Weight(_counts(subject.model), total(macs_by_layer(subject.model, shapes))),
        Weight(_counts(optimized), total(macs)),
        layer_table(before, after, macs),
    )


def _of_files(before: TfliteFile, after: TfliteFile) -> Weights:
    macs = tflite_macs(after)
    return Weights(
        Weight(_file_counts(before), total(tflite_macs(before))),
        Weight(_file_counts(after), total(macs)),
        tflite_layer_table(before, after, macs),
    )


def _counts(model: keras.Model) -> ParameterCounts:
    return count_parameters(np.asarray(weight) for weight in model.weights)


def _file_counts(file: TfliteFile) -> ParameterCounts:
    return count_parameters(tensor.values for tensor in file.weights)
