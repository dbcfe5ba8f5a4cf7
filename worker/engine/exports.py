"""The files of one job: which are asked for, which could be written, which kind is compared."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import ExportFailed, StepFailed
from app.recipes.outputs import OutputKind
from worker.engine.exporting.files import ExportedFile, write_file
from worker.engine.exporting.rungs import Rung, Rungs
from worker.engine.exporting.source import Source
from worker.engine.measuring.messages import HOSTS
from worker.engine.order import Artifact
from worker.engine.progress import never_cancelled

# Baseline and result are compared as this kind of file: the first of these that is asked for.
PREFERENCE: tuple[OutputKind, ...] = ("tflite", "onnx", "saved_model", "keras", "c_array", "packed")
STEM = "optimized"
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass
class Exports:
    """What is to be written, without what turned out not to be possible."""

    kinds: list[OutputKind]
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    check_cancelled: Callable[[], None] = never_cancelled

    @classmethod
    def asked_for(
        cls, outputs: Sequence[OutputKind], check_cancelled: Callable[[], None] = never_cancelled
    ) -> "Exports":
        kinds = [kind for kind in PREFERENCE if kind in outputs]
        return cls(kinds, check_cancelled=check_cancelled)

    @property
    def need_tensorflow(self) -> bool:
        """Whether a file has to be run by something larger than a tflite or ONNX runtime."""
        return any(HOSTS[kind] == "tensorflow" for kind in self.kinds)

    def write_baseline(self, source: Source, scratch: Path) -> ExportedFile:
        """The uploaded model as the preferred kind that it can be written as.

        Kinds that fail are dropped with a warning.
        Raises: ExportFailed if no kind is left.
        """
        while self.kinds:
            kind = self.kinds[0]
            try:
                stem = scratch / "baseline"
                return write_file(kind, source, stem, None, self.check_cancelled)
            except (ExportFailed, StepFailed) as error:
                self.drop(kind, error.detail, error.hint)
        raise self.nothing_written("the model")

    def drop(self, kind: OutputKind, reason: str, hint: str | None = None) -> None:
        """Take a kind out and say why; the hint is for where no other is left."""
        self.kinds.remove(kind)
        if hint is not None:
            self.hints.append(hint)
        self.warnings.append(f"No {kind} file is offered: {reason}.".replace("..", "."))

    def nothing_written(self, model: str) -> ExportFailed:
        return ExportFailed(
            f"{model} could be written in none of the formats asked for: "
            + " ".join(self.warnings),
            hint=" ".join(dict.fromkeys(self.hints)) or None,
        )


class Offer:
    """The optimized model's files: each kind in the best way that holds.

    `rungs` are the ways by kind, the best first; a kind that is not among them has one way. Where
    one fails, the next takes its place with a warning, and where none is left, the kind goes.
    """

    def __init__(self, exports: Exports, source: Source, folder: Path, rungs: Rungs) -> None:
        self._exports = exports
        self._source = source
        self._stem = folder / "out" / STEM
        self._left = {kind: list(rungs.get(kind, (_plain(),))) for kind in exports.kinds}

    def write_all(self) -> list[ExportedFile]:
        """Every kind that is left; the preferred one first.

        Raises: ExportFailed if no kind is left.
        """
        written = [self._written(kind) for kind in tuple(self._exports.kinds)]
        files = [file for file in written if file is not None]
        if not files:
            raise self._exports.nothing_written("the optimized model")
        return files

    def next_best(self, kind: OutputKind, reason: str) -> ExportedFile | None:
        """What takes the place of a file that did not hold; null where the kind is dropped."""
        self._fall(kind, reason)
        return self._written(kind)

    def _written(self, kind: OutputKind) -> ExportedFile | None:
        while kind in self._exports.kinds:
            rung = self._left[kind][0]
            try:
                converted = rung.converted()
                if converted is None and len(self._left[kind]) > 1:
                    self._left[kind].pop(0)
                    continue
                check = self._exports.check_cancelled
                return write_file(kind, self._source, self._stem, converted, check)
            except (ExportFailed, StepFailed) as error:
                self._fall(kind, error.detail, error.hint)
        return None

    def _fall(self, kind: OutputKind, reason: str, hint: str | None = None) -> None:
        failed = self._left[kind].pop(0)
        if not self._left[kind]:
            self._exports.drop(kind, reason, hint)
            return
        said = f"{failed.name} gave no {kind} file that holds: {reason}.".replace("..", ".")
        self._exports.warnings.append(f"{said} Tried next: {self._left[kind][0].name}.")


def _plain() -> Rung:
    return Rung("float32", _as_it_is)


def _as_it_is() -> None:
    """Nothing to convert: the writer of the kind knows what to do."""


def artifact_of(file: ExportedFile, folder: Path, model_name: str) -> Artifact:
    """How a file is offered: under the uploaded model's name, cleaned."""
    stem = UNSAFE.sub("_", Path(model_name).stem).strip("._")[:100] or "model"
    return Artifact(
        kind=file.kind,
        format=file.kind,
        path=file.path.relative_to(folder),
        filename=stem + file.path.name.removeprefix(STEM),
    )
