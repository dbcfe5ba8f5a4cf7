"""The report of a job: the same block of figures for every file, and how they differ.

Outputs have no defaults: a field is always present and null if unknown.
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.recipes.outputs import OutputKind


class Verdict(StrEnum):
    """How a succeeded job turned out against its constraints."""

    MET = "met"
    TARGET_NOT_MET = "target_not_met"
    NO_IMPROVEMENT = "no_improvement"


class Figures(BaseModel):
    """A default means that reports stored before the field was added are still read."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_serialization_defaults_required=True
    )


class HeadMeasurement(Figures):
    """One output of a model on the test split."""

    output: str
    task: str
    accuracy: float | None
    loss: float | None
    mse: float | None
    mae: float | None
    r2: float | None


class Measurement(Figures):
    """One file, reloaded in a fresh process: what it weighs, how right and how fast it is."""

    format: OutputKind
    variant: str = Field(
        description="How weights are stored and what computes: float32, float16, dynamic_range, "
        "int8, int16x8, mixed, weight_only_int8, weight_only_int4; int8_levels and sparse are "
        "float32 stored as the whole numbers of its levels and as its non-zeros, float32_unrounded "
        "is without the model's rounding of activations to more than 8 bits."
    )
    runtime: str = Field(description="What executed it, with version.")
    threads: int
    batch_size: int = Field(description="Of the latency figures.")
    samples: int | None = Field(description="Test rows measured.")
    accuracy: float | None = Field(description="In [0, 1]; mean over outputs; null in regression.")
    accuracy_ci95: tuple[float, float] | None = Field(
        description="Wilson score interval; a row is one trial, however many steps it has."
    )
    loss: float | None
    mse: float | None
    mae: float | None
    r2: float | None
    heads: tuple[HeadMeasurement, ...]
    sha256: str = Field(
        description="Of the file; the artifact with this sha256 is it. A baseline is not offered."
    )
    size_bytes: int = Field(description="Of the file as downloaded.")
    weights_bytes: int | None = Field(
        None,
        description="Of a packed file: what of it holds weights; the rest is architecture.",
    )
    compressed_size_bytes: int = Field(description="After gzip, level 9.")
    parameter_count: int
    nonzero_parameter_count: int = Field(
        description="A tflite file's own zeros (rounding to integers makes some) in the kernels "
        "that were found in it; elsewhere those of the model it was made from."
    )
    macs: int | None = Field(description="Multiply-accumulates for one sample.")
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    latency_ms_iqr: float | None
    latency_runs: int
    peak_memory_bytes: int | None = Field(
        description="Resident memory that loading and running the file added."
    )
    agreement_with_keras: float | None = Field(
        None,
        description="Of a file that computes in integers with the ranges of the job's own Keras "
        "model: the share of the measured rows on which both decide alike. Null for all others.",
    )


class Delta(Figures):
    """Baseline against optimized: > 1 is better for ratios, > 0 is worse for drops."""

    accuracy_drop: float | None = Field(description="Baseline - optimized (r2 in regression).")
    compression_ratio: float = Field(description="Baseline / optimized, both after gzip.")
    size_ratio: float = Field(description="Baseline / optimized file size, as they are.")
    speedup: float | None = Field(description="Baseline / optimized p50 latency, interleaved.")
    agreement: float | None = Field(description="Share of test rows with the same prediction.")
    p_value: float | None = Field(
        description="Exact McNemar test on the paired test rows; where a row has several "
        "decisions, the sign test on how many of them are right."
    )


class SkippedLayer(Figures):
    layer: str
    reason: str


VALIDATION = (
    "On validation rows taken out of the training data, which the model may have been trained on: "
    "compare before with after, not with the baseline's test accuracy. r2 in regression."
)


STRUCTURAL = "Null where the step keeps every layer and every shape."
TIMED = (
    "p50 of the float32 tflite of the model at that point, batch 1, one thread, interleaved with "
    f"those of all steps. {STRUCTURAL}"
)


class StepReport(Figures):
    """What one step did."""

    technique: str
    parameters: dict[str, Any]
    duration_s: float
    accuracy_before: float | None = Field(description=f"Before the step. {VALIDATION}")
    accuracy_after_change: float | None = Field(
        description=f"Right after the change, before recovery. {VALIDATION}"
    )
    accuracy_after: float | None = Field(description=f"After the step. {VALIDATION}")
    parameter_count_before: int | None = Field(None, description=STRUCTURAL)
    parameter_count_after: int | None = Field(None, description=STRUCTURAL)
    macs_before: int | None = Field(None, description=f"Of one sample. {STRUCTURAL}")
    macs_after: int | None = Field(None, description=f"Of one sample. {STRUCTURAL}")
    latency_ms_before: float | None = Field(None, description=TIMED)
    latency_ms_after: float | None = Field(None, description=TIMED)
    latency_obstacle: str | None = Field(
        None, description="Why a structural step has no latencies."
    )
    facts: dict[str, Any]
    skipped: tuple[SkippedLayer, ...]


class LayerReport(Figures):
    """One layer with weights, before and after."""

    name: str
    class_name: str
    output_shape: tuple[int | None, ...] | None
    parameter_count: int
    nonzero_parameter_count: int
    sparsity: float
    bits: int | None = Field(
        description="Of its stored kernels in the compared file; null where they were not found."
    )
    macs: int | None
    weight_error: float | None = Field(
        description="Relative L2 distance of the stored weights to the baseline's."
    )


class Control(Figures):
    """The untouched float model trained as long: what recovery alone would have given."""

    epochs: int
    accuracy: float | None
    r2: float | None
    accuracy_gain: float | None = Field(description="Control - baseline.")


class Provenance(Figures):
    model_sha256: str
    dataset_sha256: str | None
    other_models_sha256: dict[str, str] = Field(
        default={},
        description="By id: teachers, students and sources of weights that the job named.",
    )
    artifacts_sha256: dict[str, str]
    seed: int
    recipe: dict[str, Any]
    versions: dict[str, str]
    cpu: str
    cpu_count: int
    threads: int


class Report(Figures):
    """What a job changed, and what it cost."""

    baseline: Measurement
    optimized: Measurement
    outputs: tuple[Measurement, ...]
    delta: Delta
    control: Control | None
    understood: tuple[str, ...] = Field(description="How model and data were read, in words.")
    steps: tuple[StepReport, ...]
    warnings: tuple[str, ...] = Field(description="What got worse, in plain words.")
    provenance: Provenance
