"""The training rows that activation ranges are read from."""

from worker.engine.context import StepContext
from worker.engine.exporting.source import KerasSource, Source
from worker.engine.exporting.tflite import Rows
from worker.engine.measuring.tflite_file import read_tflite

FEW_SAMPLES = 100


def calibration_rows(source: Source, context: StepContext, count: int) -> Rows:
    """A seeded sample of the training split, stratified by label, under the file's input names.

    Raises: ValueError if there is no data; the recipe was checked for that.
    """
    if context.data is None:
        raise ValueError("calibration needs a data set, but the job has none")
    rows = context.data.train.sample(count, seed=context.seed)
    if isinstance(source, KerasSource):
        names = [port.exported_name for port in source.signature.inputs]
    else:
        names = [port.name for port in read_tflite(source.content).inputs]
    return dict(zip(names, rows.values(), strict=True))


def calibration_warnings(count: int) -> tuple[str, ...]:
    """In plain words, where the sample is small."""
    if count >= FEW_SAMPLES:
        return ()
    warning = (
        f"Activation ranges were read from {count} training samples only; values beyond them are "
        f"cut off. {FEW_SAMPLES} or more are advisable."
    )
    return (warning,)
