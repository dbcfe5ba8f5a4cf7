"""Hands a file to the reader of its format."""

import os
from collections.abc import Mapping
from typing import BinaryIO

from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions, ModelFacts, ModelFormat
from app.uploads.inspector.csv_table import read_csv
from app.uploads.inspector.keras.files import read_h5, read_keras
from app.uploads.inspector.npz import read_npz
from app.uploads.inspector.protocol import Inspection, InspectionOrder
from app.uploads.inspector.saved_model.file import read_saved_model
from app.uploads.inspector.tflite.file import read_tflite

# Where a refusal has nothing to say that is more to the point.
HINTS: Mapping[str, str] = {
    ModelFormat.KERAS: "Save the model again with a current Keras; check that it loads.",
    ModelFormat.H5: "Save the model again with a current Keras; check that it loads.",
    ModelFormat.TFLITE: "Convert the model again; check that an interpreter loads it.",
    ModelFormat.SAVED_MODEL: "Save it again with tf.saved_model.save or model.export.",
    "npz": "Write it with numpy.savez.",
    "csv": "Write it with pandas.DataFrame.to_csv(index=False).",
    "parquet": "Write it with pandas.DataFrame.to_parquet.",
    "images": "Pack the pictures anew, in a folder for each class.",
}
QUANTIZED = (
    "the model is quantized already: no recipe takes it, nor as a teacher or student; upload the "
    "float model it was made from"
)


def read(order: InspectionOrder, file: BinaryIO) -> Inspection:
    """Raises: RejectedUpload with what is wrong and what to do."""
    try:
        return _read(order, file)
    except RejectedUpload as error:
        if error.hint is not None:
            raise
        raise RejectedUpload(error.detail, hint=HINTS.get(order.format)) from error


def _read(order: InspectionOrder, file: BinaryIO) -> Inspection:
    match order.format:
        case ModelFormat.KERAS:
            return _model(read_keras(file, _room(order)))
        case ModelFormat.H5:
            return _model(read_h5(file))
        case ModelFormat.TFLITE:
            return _model(read_tflite(file))
        case ModelFormat.SAVED_MODEL:
            return _model(read_saved_model(file))
        case "npz":
            facts = read_npz(file, order.options)
            return _data_set(facts, order.options)
        case "csv":
            facts, options = read_csv(file, order.options)
            return _data_set(facts, options)
        case "parquet" | "images":
            return _read_with_more(order, file)
    raise ValueError(f"no reader for {order.format!r}")


def _model(facts: ModelFacts) -> Inspection:
    notes = (*facts.notes, QUANTIZED) if facts.is_quantized else facts.notes
    return Inspection(model=facts.model_copy(update={"notes": notes}))


def _room(order: InspectionOrder) -> BinaryIO | None:
    return None if order.room is None else os.fdopen(order.room, "w+b")


def _read_with_more(order: InspectionOrder, file: BinaryIO) -> Inspection:
    """Formats whose readers bring native code that no other file needs to meet."""
    if order.format == "parquet":
        from app.uploads.inspector.parquet_table import read_parquet

        return _data_set(*read_parquet(file, order.options))
    from app.uploads.inspector.images import read_images

    return _data_set(read_images(file, order.options), order.options)


def _data_set(facts: DatasetFacts, options: DatasetOptions) -> Inspection:
    """Raises: RejectedUpload where scaling leads out of what a float32 can hold."""
    for values in facts.inputs:
        if not options.is_float32_safe(values):
            raise RejectedUpload(
                f"values from {values.minimum:g} to {values.maximum:g} are too large for float32 "
                f"once they are multiplied by {options.scale:g} and {options.offset:g} is added",
                hint="Give a smaller scale or offset.",
            )
    notes = tuple(note for values in facts.inputs if (note := options.note_on(values)))
    noted = facts.model_copy(update={"notes": (*facts.notes, *notes)})
    return Inspection(dataset=noted, options=options)
