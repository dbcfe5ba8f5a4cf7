"""Builds the report of a job from what its phases found."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras

from app.reports.report import Control, Delta, LayerReport, Measurement, Report, StepReport
from worker.engine.exporting.source import Converted, KerasSource
from worker.engine.exports import Exports, artifact_of
from worker.engine.order import Order, Result
from worker.engine.proving.bench import Measured
from worker.engine.proving.trial import Proven
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
class Findings:
    """All there is to report."""

    order: Order
    subject: Subject
    source: KerasSource | None
    rated: Rated
    steps: tuple[StepReport, ...]
    control: Control | None
    converted: Converted | None
    exports: Exports


def rate_files(subject: Subject, optimized: keras.Model | None, proven: Proven) -> Rated:
    """Judge what was predicted and weigh what was written."""
    first = proven.optimized[0]
    weights = weigh(subject, optimized, (proven.baseline.file, first.file))
    samples = subject.measured_count
    ratings = [rate(one.outputs, subject) for one in (proven.baseline, *proven.optimized)]
    baseline = measurement(proven.baseline, ratings[0], weights.baseline, samples)
    outputs = tuple(
        measurement(one, rating, weights.optimized, samples)
        for one, rating in zip(proven.optimized, ratings[1:], strict=True)
    )
    agreed = agreement_of(subject, proven.baseline.outputs, first.outputs)
    return Rated(
        files=tuple(proven.optimized),
        baseline=baseline,
        outputs=outputs,
        delta=delta(baseline, outputs[0], (ratings[0], ratings[1]), agreed),
        layers=weights.layers,
    )


def result_of(findings: Findings, folder: Path) -> Result:
    """The report, the verdict and the files to offer."""
    order, rated = findings.order, findings.rated
    comparison = Comparison(rated.baseline, rated.outputs[0], rated.delta, findings.control)
    artifacts = tuple(artifact_of(one.file, folder, order.model.name) for one in rated.files)
    report = Report(
        baseline=rated.baseline,
        optimized=rated.outputs[0],
        outputs=rated.outputs,
        delta=rated.delta,
        control=findings.control,
        understood=(*findings.subject.understood(), *_file_sentences(findings.source)),
        steps=findings.steps,
        warnings=(
            *warnings_of(comparison, order.constraints, order.recipe),
            *(findings.converted.warnings if findings.converted else ()),
            *findings.exports.warnings,
        ),
        provenance=provenance(order, folder, artifacts),
    )
    return Result(
        report=report,
        layers=rated.layers,
        verdict=verdict_of(comparison, order.constraints),
        artifacts=artifacts,
    )


def _file_sentences(source: KerasSource | None) -> Iterator[str]:
    """What a user of the files has to know to call them."""
    if source is None:
        return
    if source.is_recurrent:
        yield "recurrent layers: a tflite file takes one sample at a time"
    for port in (*source.signature.inputs, *source.signature.outputs):
        if port.exported_name != port.name:
            yield f"in files, {port.name!r} is called {port.exported_name!r}"
