"""From what a measuring process returned to the block of figures a report holds for each file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.reports.report import Delta, HeadMeasurement, Measurement
from worker.engine.loading.splits import Array
from worker.engine.measuring.accuracy import agreement, judge
from worker.engine.measuring.sizes import compressed_size_bytes
from worker.engine.measuring.statistics import mcnemar_p_value, wilson_interval
from worker.engine.proving.bench import THREADS, Measured
from worker.engine.reporting.provenance import sha256_of
from worker.engine.reporting.weighing import Weight
from worker.engine.subject import Subject
from worker.engine.training.evaluation import summary

BATCH_SIZE = 1


@dataclass(frozen=True)
class Rating:
    """How right one file is: figures by output, and how much of each row it got right.

    `right_share`: [rows], in [0, 1], over all classifying outputs; null if there is none.
    """

    heads: tuple[HeadMeasurement, ...]
    right_share: npt.NDArray[np.float64] | None


def rate(predictions: Sequence[Array], subject: Subject) -> Rating:
    """Judge every output; a row is one trial, however many steps and outputs it has."""
    if subject.data is None or not subject.tasks:
        return Rating((), None)
    labels = subject.data.test.labels
    judged = [
        judge(task, output, labels[task.output])
        for task, output in zip(subject.tasks, predictions, strict=True)
    ]
    shares = [one.right_share for one in judged if one.right_share is not None]
    overall = np.mean(shares, axis=0) if shares else None
    return Rating(tuple(one.figures for one in judged), overall)


def measurement(
    measured: Measured,
    rating: Rating,
    weight: Weight,
    samples: int,
    agreement_with_keras: float | None = None,
) -> Measurement:
    """The block of one file that was reloaded and run."""
    overall = summary(rating.heads) if rating.heads else None
    latency = measured.result.latency
    share = rating.right_share
    return Measurement(
        format=measured.file.kind,
        variant=measured.file.variant,
        runtime=measured.result.runtime,
        threads=THREADS,
        batch_size=BATCH_SIZE,
        samples=samples,
        accuracy=overall.accuracy if overall else None,
        accuracy_ci95=None if share is None else wilson_interval(float(share.sum()), share.size),
        loss=overall.loss if overall else None,
        mse=overall.mse if overall else None,
        mae=overall.mae if overall else None,
        r2=overall.r2 if overall else None,
        heads=rating.heads,
        sha256=sha256_of(measured.file.path),
        size_bytes=measured.file.path.stat().st_size,
        weights_bytes=measured.file.weights_bytes,
        compressed_size_bytes=compressed_size_bytes(measured.file.path),
        parameter_count=weight.counts.parameter_count,
        nonzero_parameter_count=weight.counts.nonzero_parameter_count,
        macs=weight.macs,
        latency_ms_p50=latency.ms_p50 if latency else None,
        latency_ms_p95=latency.ms_p95 if latency else None,
        latency_ms_iqr=latency.ms_iqr if latency else None,
        latency_runs=latency.runs if latency else 0,
        peak_memory_bytes=measured.result.peak_memory_bytes,
        agreement_with_keras=agreement_with_keras,
    )


def delta(
    baseline: Measurement,
    optimized: Measurement,
    ratings: tuple[Rating, Rating],
    agreed: float | None,
) -> Delta:
    """How the two differ; `ratings` are theirs in the same order."""
    p50s = (baseline.latency_ms_p50, optimized.latency_ms_p50)
    return Delta(
        accuracy_drop=accuracy_drop(baseline, optimized),
        compression_ratio=baseline.compressed_size_bytes / optimized.compressed_size_bytes,
        size_ratio=baseline.size_bytes / optimized.size_bytes,
        speedup=p50s[0] / p50s[1] if p50s[0] and p50s[1] else None,
        agreement=agreed,
        p_value=paired_p_value(ratings),
    )


def accuracy_drop(baseline: Measurement, optimized: Measurement) -> float | None:
    """Baseline - optimized: accuracy, or r2 where nothing is classified; null if unknown."""
    pairs = ((baseline.accuracy, optimized.accuracy), (baseline.r2, optimized.r2))
    for before, after in pairs:
        if before is not None and after is not None:
            return before - after
    return None


def agreement_of(subject: Subject, baseline: list[Array], optimized: list[Array]) -> float | None:
    """Share of rows with the same decision on every output whose decisions are known."""
    known = [
        (task, one, other)
        for task, one, other in zip(subject.compared, baseline, optimized, strict=True)
        if task is not None
    ]
    if not known:
        return None
    tasks, first, second = zip(*known, strict=True)
    return agreement(tasks, list(first), list(second))


def paired_p_value(ratings: tuple[Rating, Rating]) -> float | None:
    first, second = ratings[0].right_share, ratings[1].right_share
    if first is None or second is None:
        return None
    return mcnemar_p_value(int((first > second).sum()), int((second > first).sum()))
