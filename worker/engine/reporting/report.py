"""Builds the report of a job from what its phases found."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras

from app.recipes.outputs import OutputKind
from app.reports.report import Control, Delta, LayerReport, Measurement, Report, StepReport
from worker.engine.exporting.onnx_file import OPSET
from worker.engine.exporting.saved_model_source import SavedModelSource
from worker.engine.exporting.source import KerasSource, Source
from worker.engine.exports import Exports, artifact_of
from worker.engine.order import Order, Result
from worker.engine.proving.bench import Measured
from worker.engine.proving.trial import Proven
from worker.engine.reporting.faithfulness import agreements_with_keras, faithfulness_warnings
from worker.engine.reporting.figures import agreement_of, delta, measurement, rate
from worker.engine.reporting.provenance import provenance
from worker.engine.reporting.verdict import Comparison, verdict_of, warnings_of
from worker.engine.reporting.weighing import weigh
from worker.engine.subject import Subject


@dataclass(frozen=True)
class Rated:
    """The files that hold, with their figures: the baseline's, and the compared one first."""

    files: tuple[Measured, ...]
    baseline: Measurement
    outputs: tuple[Measurement, ...]
    delta: Delta
    layers: tuple[LayerReport, ...]


@dataclass(frozen=True)
class Done:
    """What else was done for the report to tell of."""

    source: Source
    steps: tuple[StepReport, ...]
    step_warnings: tuple[str, ...]
    exports: Exports
    control: Control | None


def rate_files(subject: Subject, optimized: keras.Model | None, proven: Proven) -> Rated:
    """Judge what was predicted and weigh what was written."""
    first = proven.optimized[0]
    files = [one.file for one in proven.optimized]
    weights = weigh(subject, optimized, proven.baseline.file, files)
    samples = subject.measured_count
    ratings = [rate(one.outputs, subject) for one in (proven.baseline, *proven.optimized)]
    baseline = measurement(proven.baseline, ratings[0], weights.baseline, samples)
    faithful = agreements_with_keras(subject, optimized, proven.optimized)
    outputs = tuple(
        measurement(one, rating, weight, samples, agreed)
        for one, rating, weight, agreed in zip(
            proven.optimized, ratings[1:], weights.optimized, faithful, strict=True
        )
    )
    agreed = agreement_of(subject, proven.baseline.outputs, first.outputs)
    return Rated(
        files=tuple(proven.optimized),
        baseline=baseline,
        outputs=outputs,
        delta=delta(baseline, outputs[0], (ratings[0], ratings[1]), agreed),
        layers=weights.layers,
    )


def result_of(order: Order, folder: Path, subject: Subject, rated: Rated, done: Done) -> Result:
    """The report, the verdict and the files to offer."""
    comparison = Comparison(rated.baseline, rated.outputs[0], rated.delta, done.control)
    artifacts = tuple(artifact_of(one.file, folder, order.model.name) for one in rated.files)
    report = Report(
        baseline=rated.baseline,
        optimized=rated.outputs[0],
        outputs=rated.outputs,
        delta=rated.delta,
        control=done.control,
        understood=(*subject.understood(), *_file_sentences(done.source, done.exports.kinds)),
        steps=done.steps,
        warnings=(
            *warnings_of(comparison, order.constraints),
            *faithfulness_warnings(rated.outputs),
            *done.step_warnings,
            *done.exports.warnings,
        ),
        provenance=provenance(order, folder, artifacts),
    )
    return Result(
        report=report,
        layers=rated.layers,
        verdict=verdict_of(comparison, order.constraints),
        artifacts=artifacts,
    )


def _file_sentences(source: Source, kinds: Collection[OutputKind]) -> Iterator[str]:
    """What a user of the files has to know to call them."""
    if isinstance(source, SavedModelSource) and source.model.is_recurrent:
        yield "recurrent layers: a tflite file takes one sample at a time"
    if not isinstance(source, KerasSource):
        return
    if "onnx" in kinds:
        yield f"the onnx file is of opset {OPSET}; its batch is open"
    if source.is_recurrent:
        yield "recurrent layers: a tflite file takes one sample at a time"
    for port in (*source.signature.inputs, *source.signature.outputs):
        if port.exported_name != port.name:
            yield f"in files, {port.name!r} is called {port.exported_name!r}"
