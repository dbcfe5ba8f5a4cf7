"""What the optimized model must keep to; the verdict of a job is judged by it."""

from pydantic import BaseModel, ConfigDict, Field


class Constraints(BaseModel):
    """Targets measured on the test split of the reloaded file; null = not asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_accuracy_drop: float | None = Field(
        None, ge=0, le=1, description="Baseline - optimized accuracy (r2 for regression)."
    )
    max_size_bytes: int | None = Field(None, gt=0, description="Size of the optimized file.")
    max_latency_ms: float | None = Field(
        None, gt=0, description="p50 latency of one sample on this worker."
    )
