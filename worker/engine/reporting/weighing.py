"""What the models of a job consist of, before and after: parameters, work, layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from app.reports.report import LayerReport
from worker.engine.exporting.c_array import read_c_array
from worker.engine.exporting.files import ExportedFile
from worker.engine.measuring.layers import Stored, layer_table, tflite_layer_table
from worker.engine.measuring.macs import macs_by_layer, total
from worker.engine.measuring.onnx_weights import OnnxFile, read_onnx
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
    """Both sides, `optimized` file by file, and the compared file layer by layer."""

    baseline: Weight
    optimized: tuple[Weight, ...]
    layers: tuple[LayerReport, ...]


def weigh(
    subject: Subject,
    optimized: keras.Model | None,
    baseline: ExportedFile,
    files: Sequence[ExportedFile],
) -> Weights:
    """Weigh the Keras models as stored, or the files alone where the upload has no Keras layers.

    `files`: the optimized ones; the first is compared with the baseline, and of its kind.
    """
    read = [_read(file) for file in (baseline, *files)]
    if subject.model is None or optimized is None:
        return _of_files(subject, read)
    shapes = [subject.row_shapes.get(spec.name, spec.shape or ()) for spec in subject.inputs]
    before = Stored(subject.model, read[0])
    after = [Stored(optimized, file) for file in read[1:]]
    macs = macs_by_layer(optimized, shapes)
    return Weights(
        Weight(before.counts(), total(macs_by_layer(subject.model, shapes))),
        tuple(Weight(stored.counts(), total(macs)) for stored in after),
        layer_table(before, after[0], macs),
    )


def _of_files(subject: Subject, files: Sequence[TfliteFile | OnnxFile | None]) -> Weights:
    """What is no tflite file is the SavedModel itself, which has no layers to list."""
    weights = [
        Weight(_file_counts(file), total(tflite_macs(file)))
        if isinstance(file, TfliteFile)
        else Weight(_own_counts(subject), None)
        for file in files
    ]
    before, after = files[:2]
    table: tuple[LayerReport, ...] = ()
    if isinstance(before, TfliteFile) and isinstance(after, TfliteFile):
        table = tflite_layer_table(before, after, tflite_macs(after))
    return Weights(weights[0], tuple(weights[1:]), table)


def _read(file: ExportedFile) -> TfliteFile | OnnxFile | None:
    """What holds constants that kernels can be found among; null for all other kinds."""
    if file.kind == "tflite":
        return read_tflite(file.path.read_bytes())
    if file.kind == "c_array":
        return read_tflite(read_c_array(file.path))
    return read_onnx(file.path.read_bytes()) if file.kind == "onnx" else None


def _own_counts(subject: Subject) -> ParameterCounts:
    return count_parameters(subject.saved_model.weights if subject.saved_model else ())


def _file_counts(file: TfliteFile) -> ParameterCounts:
    return count_parameters(tensor.values for tensor in file.weights)
