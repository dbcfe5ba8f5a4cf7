"""Whether a job met its targets, and in plain words what got worse; pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.recipes.constraints import Constraints
from app.reports.report import Control, Delta, Measurement, Verdict

# Two interleaved medians of the same file differ by less.
LATENCY_NOISE = 0.05
# A file that is smaller by less is smaller by accident: a name, a few bytes of padding.
SIZE_MARGIN = 0.01
SIGNIFICANT = 0.05
# Rounding to integers makes a few weights of a quantized tflite file zero all by itself.
NOTABLE_ZEROS = 0.1


@dataclass(frozen=True)
class Comparison:
    """What there is to judge by."""

    baseline: Measurement
    optimized: Measurement
    delta: Delta
    control: Control | None

    @property
    def is_faster(self) -> bool:
        return self.delta.speedup is not None and self.delta.speedup > 1 + LATENCY_NOISE

    @property
    def is_slower(self) -> bool:
        return self.delta.speedup is not None and self.delta.speedup < 1 - LATENCY_NOISE

    @property
    def is_smaller(self) -> bool:
        return self.delta.compression_ratio > 1 + SIZE_MARGIN

    @property
    def measure(self) -> str:
        """What `accuracy_drop` is a drop of."""
        return "accuracy" if self.baseline.accuracy is not None else "r2"


def verdict_of(comparison: Comparison, constraints: Constraints) -> Verdict:
    if any(broken_constraints(comparison, constraints)):
        return Verdict.TARGET_NOT_MET
    is_better = comparison.is_smaller or comparison.is_faster
    return Verdict.MET if is_better else Verdict.NO_IMPROVEMENT


def broken_constraints(comparison: Comparison, constraints: Constraints) -> Iterator[str]:
    """A sentence for every target that was missed, with both numbers."""
    drop, optimized = comparison.delta.accuracy_drop, comparison.optimized
    if constraints.max_accuracy_drop is not None and (
        drop is None or drop > constraints.max_accuracy_drop
    ):
        given = "is not known" if drop is None else f"is {drop:.4f}"
        yield (
            f"Target missed: the {comparison.measure} drop {given}; allowed are "
            f"{constraints.max_accuracy_drop:g} (max_accuracy_drop)."
        )
    if constraints.max_size_bytes is not None and optimized.size_bytes > constraints.max_size_bytes:
        yield (
            f"Target missed: the file has {optimized.size_bytes} bytes; allowed are "
            f"{constraints.max_size_bytes} (max_size_bytes)."
        )
    latency = optimized.latency_ms_p50
    if constraints.max_latency_ms is not None and (
        latency is None or latency > constraints.max_latency_ms
    ):
        given = "is not known" if latency is None else f"is {latency:.4g} ms"
        yield (
            f"Target missed: the p50 latency {given}; allowed are "
            f"{constraints.max_latency_ms:g} ms (max_latency_ms)."
        )


def warnings_of(comparison: Comparison, constraints: Constraints) -> Iterator[str]:
    """What got worse or may be misread, the missed targets first."""
    yield from broken_constraints(comparison, constraints)
    yield from _cost_warnings(comparison)
    yield from _accuracy_warnings(comparison)
    yield from _sparsity_warnings(comparison)
    yield from _control_warnings(comparison)


def _cost_warnings(comparison: Comparison) -> Iterator[str]:
    baseline, optimized = comparison.baseline, comparison.optimized
    if comparison.is_slower:
        is_alike = optimized.variant == baseline.variant
        slow = "The optimized file" if is_alike else _called(optimized.variant)
        fast = "the baseline" if is_alike else baseline.variant
        yield (
            f"{slow} is slower than {fast} here: "
            f"{optimized.latency_ms_p50:.4g} ms against {baseline.latency_ms_p50:.4g} ms (p50)."
        )
    if comparison.delta.compression_ratio < 1:
        yield (
            f"The file became bigger: {optimized.compressed_size_bytes} bytes after gzip against "
            f"{baseline.compressed_size_bytes}."
        )
    if comparison.delta.size_ratio < 1:
        yield (
            f"The file as downloaded became bigger: {optimized.size_bytes} bytes against "
            f"{baseline.size_bytes}."
        )
    peaks = (baseline.peak_memory_bytes, optimized.peak_memory_bytes)
    if peaks[0] and peaks[1] and peaks[1] > 1.5 * peaks[0] and peaks[1] - peaks[0] > 2**20:
        yield f"It takes more memory: {peaks[1]} bytes at peak against {peaks[0]}."


def _accuracy_warnings(comparison: Comparison) -> Iterator[str]:
    """The paired test alone decides: intervals of two models on the same rows may well overlap."""
    drop, p_value = comparison.delta.accuracy_drop, comparison.delta.p_value
    if drop is None or drop <= 0:
        return
    if p_value is not None:
        judged = "more than" if p_value < SIGNIFICANT else "within what"
        yield (
            f"Accuracy dropped by {drop:.4f}, {judged} chance explains "
            f"(paired test: p = {p_value:.2g})."
        )
    elif drop > 0.01:
        yield f"r2 dropped by {drop:.4f}."


def _sparsity_warnings(comparison: Comparison) -> Iterator[str]:
    zeros = _zeros(comparison.optimized)
    if comparison.optimized.variant == "sparse":
        return
    if zeros - _zeros(comparison.baseline) >= NOTABLE_ZEROS:
        yield (
            f"{zeros:.0%} of the parameters are zero. The file keeps their places, so it is small "
            "only when compressed, and this runtime multiplies by them all the same: zeros alone "
            "give no speed-up."
        )


def _called(variant: str) -> str:
    """A variant in words that say what it is."""
    return "an int8 file with operators in float (mixed)" if variant == "mixed" else variant


def _zeros(measurement: Measurement) -> float:
    """The share of its parameters that are zero."""
    return 1 - measurement.nonzero_parameter_count / max(1, measurement.parameter_count)


def _control_warnings(comparison: Comparison) -> Iterator[str]:
    control, optimized, measure = comparison.control, comparison.optimized, comparison.measure
    if control is None:
        return
    if control.accuracy_gain is not None and control.accuracy_gain > 0:
        yield (
            f"Training alone moved the untouched model's {measure} by "
            f"{control.accuracy_gain:+.4f}; that much of the result is not owed to compression."
        )
    known = (control.accuracy, optimized.accuracy)
    trained, reached = known if measure == "accuracy" else (control.r2, optimized.r2)
    if trained is not None and reached is not None and trained > reached:
        yield (
            f"Against the float model trained as long, compression cost {trained - reached:.3f}: "
            f"{measure} {reached:.3f} against {trained:.3f}."
        )
