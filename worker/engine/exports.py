"""The files of one job: which are asked for, which could be written, which kind is compared."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import ExportFailed, JobError
from app.recipes.outputs import OutputKind
from app.recipes.steps import Conversion
from worker.engine.exporting.files import ExportedFile, write_file
from worker.engine.exporting.source import Converted, Source
from worker.engine.order import Artifact

# Baseline and result are compared as this kind of file: the first of these that is asked for.
PREFERENCE: tuple[OutputKind, ...] = ("tflite", "saved_model", "keras")
STEM = "optimized"
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass
class Exports:
    """What is to be written, without what turned out not to be possible."""

    kinds: list[OutputKind]
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def asked_for(cls, outputs: Sequence[OutputKind]) -> "Exports":
        return cls([kind for kind in PREFERENCE if kind in outputs])

    @property
    def need_tensorflow(self) -> bool:
        """Whether a file has to be run by something larger than a tflite interpreter."""
        return any(kind != "tflite" for kind in self.kinds)

    def write_baseline(
        self, source: Source, scratch: Path, conversion: Conversion | None
    ) -> ExportedFile:
        """The uploaded model as the preferred kind that it can be written as.

        Kinds that fail are dropped with a warning; but where a `conversion` is to come, a tflite
        file that fails is an error, for the conversion would fail on it too.
        Raises: ExportFailed if no kind is left.
        """
        while self.kinds:
            kind = self.kinds[0]
            try:
                return write_file(kind, source, scratch / "baseline", None)
            except JobError as error:
                if conversion and kind == "tflite":
                    raise
                self.drop(kind, error.detail)
        raise self._nothing_written("the model")

    def write_all(
        self, source: Source, folder: Path, converted: Converted | None
    ) -> list[ExportedFile]:
        """The optimized model in every kind that is left; the preferred kind first.

        Kinds that fail are dropped with a warning.
        Raises: ExportFailed if no kind is left.
        """
        files: list[ExportedFile] = []
        for kind in tuple(self.kinds):
            try:
                files.append(write_file(kind, source, folder / "out" / STEM, converted))
                self.warnings += files[-1].warnings
            except JobError as error:
                self.drop(kind, error.detail)
        if not files:
            raise self._nothing_written("the optimized model")
        return files

    def drop(self, kind: OutputKind, reason: str) -> None:
        """Take a kind out and say why."""
        self.kinds.remove(kind)
        self.warnings.append(f"No {kind} file is offered: {reason}.".replace("..", "."))

    def _nothing_written(self, model: str) -> ExportFailed:
        return ExportFailed(
            f"{model} could be written in none of the formats asked for: " + " ".join(self.warnings)
        )


def artifact_of(file: ExportedFile, folder: Path, model_name: str) -> Artifact:
    """How a file is offered: under the uploaded model's name, cleaned."""
    stem = UNSAFE.sub("_", Path(model_name).stem).strip("._")[:100] or "model"
    return Artifact(
        kind=file.kind,
        format=file.kind,
        path=file.path.relative_to(folder),
        filename=stem + file.path.name.removeprefix(STEM),
    )
