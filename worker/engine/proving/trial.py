"""Every file of a job put to the proof: reloaded, run, compared; what fails is taken out."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from app.errors import ExportFailed
from worker.engine.exporting.files import ExportedFile
from worker.engine.exporting.source import KerasSource, Source
from worker.engine.exports import Exports, Offer
from worker.engine.loading.faults import of_the_model
from worker.engine.loading.splits import Array
from worker.engine.proving.bench import Bench, Measured, Names
from worker.engine.proving.check import complaint, own_outputs, reference
from worker.engine.subject import Subject


@dataclass(frozen=True)
class Side:
    """One side of the comparison: where its files come from, and the model behind them."""

    source: Source
    model: keras.Model | None

    def expected(self, subject: Subject) -> list[Array]:
        """The model's own outputs for a few rows; empty for a tflite upload."""
        if self.model is not None:
            return reference(self.model, subject)
        return [] if subject.saved_model is None else own_outputs(subject.saved_model, subject)


@dataclass(frozen=True)
class Proven:
    """Files that hold: the baseline's, and the optimized ones, the one compared with it first."""

    baseline: Measured
    optimized: list[Measured]


@dataclass(frozen=True)
class Trial:
    """What is needed to prove files."""

    subject: Subject
    bench: Bench
    exports: Exports
    check_cancelled: Callable[[], None]

    def prove(
        self,
        baseline: ExportedFile,
        before: Side,
        files: list[ExportedFile],
        after: Side,
        offer: Offer,
    ) -> Proven:
        """Measure all files; where one fails, the next best of its kind is measured in its place.

        Where none of the compared kind holds, the next kind is compared. The baseline is written
        anew wherever it is of another kind than what it is compared with.
        Raises: ExportFailed if no optimized file holds.
        """
        names = names_of(before.source, self.subject)
        with of_the_model("the uploaded model cannot be run"):
            own = before.expected(self.subject)
        expected = (own, after.expected(self.subject))
        while files:
            if baseline.kind != files[0].kind:
                baseline = self.exports.write_baseline(before.source, self.bench.scratch)
                files = [file for file in files if file.kind in self.exports.kinds]
            measured = self.bench.measure(
                [baseline, *files], (baseline, files[0]), self.subject, names, self.check_cancelled
            )
            self._judge_baseline(measured[0], expected[0])
            left = [one for one in measured[1:] if one.file.kind in self.exports.kinds]
            kept = [self._kept(one, expected[1], offer) for one in left]
            holding = [one for file, one in zip(kept, left, strict=True) if file is one.file]
            first, files = files[0], [file for file in kept if file is not None]
            if holding and holding[0].file is first and len(holding) == len(files):
                return Proven(measured[0], holding)
        raise ExportFailed("no file could be used. " + " ".join(self.exports.warnings))

    def _judge_baseline(self, measured: Measured, expected: list[Array]) -> None:
        """A baseline that fails takes its kind along: there is nothing to compare with."""
        problem = problem_of(measured, expected)
        if problem:
            kind = measured.file.kind
            self.exports.drop(kind, f"the uploaded model as {kind} does not hold, {problem}")

    def _kept(self, measured: Measured, expected: list[Array], offer: Offer) -> ExportedFile | None:
        """The file if it holds, or what takes its place; null where its kind is dropped."""
        problem = problem_of(measured, expected)
        return offer.next_best(measured.file.kind, problem) if problem else measured.file


def names_of(source: Source, subject: Subject) -> Names:
    """What exported files call the model's inputs and outputs."""
    if isinstance(source, KerasSource):
        signature = source.signature
        return Names(
            tuple(port.exported_name for port in signature.inputs),
            tuple(port.exported_name for port in signature.outputs),
        )
    return Names(
        tuple(spec.name for spec in subject.inputs), tuple(head.output for head in subject.heads)
    )


def problem_of(measured: Measured, expected: list[Array]) -> str | None:
    """Why a file does not hold, in words."""
    if measured.result.error is not None:
        return f"it cannot be run: {measured.result.error}"
    return complaint(measured.file.variant, measured.outputs, expected)
