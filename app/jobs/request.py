"""What a client asks of a job: the body of `POST /v1/jobs`."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.recipes.constraints import Constraints
from app.recipes.outputs import OutputKind
from app.recipes.recipe import Recipe


def _once_each(outputs: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(outputs)) != len(outputs):
        raise ValueError(f"each output once; given {list(outputs)}")
    return outputs


TagKey = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.\-]+$")]
TagValue = Annotated[str, Field(max_length=256)]


class Limits(BaseModel):
    """After these many seconds the job is `timed_out`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    queue_s: float = Field(3600, gt=0, le=604_800, description="Time spent waiting.")
    run_s: float = Field(7200, gt=0, le=604_800, description="Wall time of one attempt.")


class JobRequest(BaseModel):
    """A recipe for a model, with its data and its targets."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str = Field("", max_length=200)
    model_id: str = Field(max_length=64)
    dataset_id: str | None = Field(None, max_length=64)
    teacher_model_id: None = Field(None, description="Not available yet.")
    student_model_id: None = Field(None, description="Not available yet.")
    recipe: Recipe
    preset: None = Field(None, description="Not available yet.")
    search: None = Field(None, description="Not available yet.")
    constraints: Constraints = Field(default_factory=Constraints)
    outputs: Annotated[
        tuple[OutputKind, ...],
        Field(min_length=1, max_length=3, strict=False),
        AfterValidator(_once_each),
    ] = ("keras", "tflite")
    control: bool = Field(
        False,
        description="Also fine-tune the untouched model as long, so that what training gained is "
        "not mistaken for what compression gained.",
    )
    limits: Limits = Field(default_factory=Limits)
    tags: dict[TagKey, TagValue] = Field(default_factory=dict, max_length=32)
