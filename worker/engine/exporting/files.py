"""Writes one model in one of the formats a job can be asked for."""

from dataclasses import dataclass
from pathlib import Path

from app.errors import ExportFailed
from app.recipes.outputs import OutputKind
from worker.engine.exporting.archive import files_below, write_zip
from worker.engine.exporting.integers import default_tflite
from worker.engine.exporting.keras_file import write_keras
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.tflite import Variant

SUFFIXES: dict[OutputKind, str] = {
    "keras": ".keras",
    "tflite": ".tflite",
    "saved_model": ".saved_model.zip",
}


@dataclass(frozen=True)
class ExportedFile:
    """A file as it is offered; `loadable` is what a runtime reads: it, or its unpacked folder."""

    kind: OutputKind
    variant: str
    path: Path
    loadable: Path
    warnings: tuple[str, ...] = ()


def write_file(
    kind: OutputKind, source: Source, stem: Path, converted: Converted | None
) -> ExportedFile:
    """Write the model as `<stem><suffix>`; a tflite file is the converted one, if there is one.

    Without one it is in integers where the model holds their ranges, else in float32.
    Raises: ExportFailed or StepFailed with the reason.
    """
    path = stem.with_name(stem.name + SUFFIXES[kind])
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "tflite":
        # What a conversion has to say is in its step's report already.
        written = converted or default_tflite(source)
        path.write_bytes(written.content)
        warnings = () if converted else written.warnings
        return ExportedFile(kind, written.variant, path, path, warnings)
    if not isinstance(source, KerasSource):
        raise ExportFailed(
            f"a tflite model cannot be turned back into {kind}", hint="Ask for 'tflite' only."
        )
    if kind == "keras":
        write_keras(source.model, path)
        return ExportedFile(kind, Variant.FLOAT32, path, path)
    folder = source.saved_model()
    write_zip(path, files_below(folder), compressed=True)
    return ExportedFile(kind, Variant.FLOAT32, path, folder)
