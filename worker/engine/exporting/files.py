"""Writes one model in one of the formats a job can be asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.errors import ExportFailed
from app.recipes.outputs import HOLDING_TFLITE, OutputKind
from worker.engine.exporting.archive import files_below, write_zip
from worker.engine.exporting.c_array import write_c_array
from worker.engine.exporting.integers import default_tflite
from worker.engine.exporting.keras_file import write_keras
from worker.engine.exporting.onnx_ranges import default_onnx
from worker.engine.exporting.packed import write_packed
from worker.engine.exporting.saved_model_source import SavedModelSource
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.tflite import Variant
from worker.engine.progress import never_cancelled

SUFFIXES: dict[OutputKind, str] = {
    "keras": ".keras",
    "tflite": ".tflite",
    "saved_model": ".saved_model.zip",
    "onnx": ".onnx",
    "c_array": ".c_array.zip",
    "packed": ".packed",
}


@dataclass(frozen=True)
class ExportedFile:
    """A file as it is offered; `loadable` is what a runtime reads: it, or its unpacked folder.

    weights_bytes: what of it holds weights, where that can be told.
    """

    kind: OutputKind
    variant: str
    path: Path
    loadable: Path
    weights_bytes: int | None = None


def write_file(
    kind: OutputKind,
    source: Source,
    stem: Path,
    converted: Converted | None,
    check_cancelled: Callable[[], None] = never_cancelled,
) -> ExportedFile:
    """Write the model as `<stem><suffix>`; `converted` is what a tflite or onnx file is to hold.

    Without one it is in integers where the model holds their ranges, else in float32.
    Raises: ExportFailed or StepFailed with the reason; whatever `check_cancelled` raises.
    """
    path = stem.with_name(stem.name + SUFFIXES[kind])
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in HOLDING_TFLITE:
        return _write_tflite(kind, converted or default_tflite(source), path)
    if isinstance(source, SavedModelSource) and kind == "saved_model":
        return _write_saved_model(source.model.folder, path)
    if not isinstance(source, KerasSource):
        raise ExportFailed(
            f"a model without Keras layers cannot be turned into {kind}",
            hint="Ask for 'tflite' only.",
        )
    if kind == "onnx":
        converted = converted or default_onnx(source)
        path.write_bytes(converted.content)
        return ExportedFile(kind, converted.variant, path, path)
    if kind == "keras":
        write_keras(source.model, path)
        return ExportedFile(kind, Variant.FLOAT32, path, path)
    if kind == "packed":
        weights_bytes = write_packed(source, path, check_cancelled)
        return ExportedFile(kind, Variant.FLOAT32, path, path, weights_bytes)
    return _write_saved_model(source.saved_model(), path)


def _write_saved_model(folder: Path, path: Path) -> ExportedFile:
    write_zip(path, files_below(folder), compressed=True)
    return ExportedFile("saved_model", Variant.FLOAT32, path, folder)


def _write_tflite(kind: OutputKind, converted: Converted, path: Path) -> ExportedFile:
    if kind == "c_array":
        write_c_array(converted.content, path)
    else:
        path.write_bytes(converted.content)
    return ExportedFile(kind, converted.variant, path, path)
