"""The rows that activation ranges are read from, under the names of a file's inputs."""

from worker.engine.context import StepContext
from worker.engine.exporting.source import KerasSource, Source
from worker.engine.exporting.tflite import Rows
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.quantizing.calibration.observing import RowsByInput


def calibration_rows(source: Source, context: StepContext, count: int) -> Rows:
    """A seeded sample of the training split, stratified by label, under the file's input names.

    Raises: ValueError if there is no data; the recipe was checked for that.
    """
    if context.data is None:
        raise ValueError("calibration needs a data set, but the job has none")
    return exported_rows(source, context.data.train.sample(count, seed=context.seed))


def exported_rows(source: Source, rows: RowsByInput) -> Rows:
    """Rows in the order of the model's inputs, under the names that the exported file has."""
    if isinstance(source, KerasSource):
        names = [port.exported_name for port in source.signature.inputs]
    else:
        names = [port.name for port in read_tflite(source.float32()).inputs]
    return dict(zip(names, rows.values(), strict=True))
