"""Hands a file to the reader of its format."""

from typing import BinaryIO

from app.recipes.steps.base import ModelFormat
from app.uploads.inspector.csv_table import read_csv
from app.uploads.inspector.keras_files import read_h5, read_keras
from app.uploads.inspector.npz import read_npz
from app.uploads.inspector.order import Inspection, InspectionOrder
from app.uploads.inspector.tflite_file import read_tflite


def read(order: InspectionOrder, file: BinaryIO) -> Inspection:
    """Raises: RejectedUpload with what is wrong and what to do."""
    match order.format:
        case ModelFormat.KERAS:
            return Inspection(model=read_keras(file))
        case ModelFormat.H5:
            return Inspection(model=read_h5(file))
        case ModelFormat.TFLITE:
            return Inspection(model=read_tflite(file))
        case "npz":
            return Inspection(dataset=read_npz(file, order.options), options=order.options)
        case "csv":
            facts, options = read_csv(file, order.options)
            return Inspection(dataset=facts, options=options)
    raise ValueError(f"no reader for {order.format!r}")
