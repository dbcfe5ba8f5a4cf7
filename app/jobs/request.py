"""What a client asks of a job: the body of `POST /v1/jobs`."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.recipes.constraints import Constraints
from app.recipes.outputs import OUTPUT_KINDS, OUTPUTS_DESCRIPTION, OutputKind
from app.recipes.recipe import Recipe
from app.recipes.steps.base import NamedModel
from app.whole_numbers import with_whole_numbers


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
    recipe: Recipe
    # After the recipe: whether they have an effect is for its steps to say.
    teacher_model_id: str | None = Field(
        None,
        max_length=64,
        description="The teacher of every step that distills and names none; null = the model.",
    )
    student_model_id: str | None = Field(
        None,
        max_length=64,
        description="The student of a distillation whose `student` is `model` and names none.",
    )
    preset: None = Field(None, description="Not available yet.")
    search: None = Field(None, description="Not available yet.")
    constraints: Constraints = Field(default_factory=Constraints)
    outputs: Annotated[
        tuple[OutputKind, ...],
        Field(
            min_length=1,
            max_length=len(OUTPUT_KINDS),
            strict=False,
            description=OUTPUTS_DESCRIPTION,
        ),
        AfterValidator(_once_each),
    ] = ("keras", "tflite")
    control: bool = Field(
        False,
        description="Also fine-tune the untouched model as long, so that what training gained is "
        "not mistaken for what compression gained.",
    )
    limits: Limits = Field(default_factory=Limits)
    tags: dict[TagKey, TagValue] = Field(default_factory=dict, max_length=32)

    @model_validator(mode="before")
    @classmethod
    def _with_whole_numbers(cls, given: object) -> object:
        return with_whole_numbers(given)

    @field_validator("teacher_model_id")
    @classmethod
    def _some_step_takes_the_teacher(cls, given: str | None, info: ValidationInfo) -> str | None:
        recipe = info.data.get("recipe")
        if given is not None and recipe is not None and recipe.with_models(given, None) == recipe:
            raise ValueError(
                "has no effect: no step of the recipe distills and leaves its teacher open"
            )
        return given

    @field_validator("student_model_id")
    @classmethod
    def _some_step_takes_the_student(cls, given: str | None, info: ValidationInfo) -> str | None:
        recipe = info.data.get("recipe")
        if given is not None and recipe is not None and recipe.with_models(None, given) == recipe:
            raise ValueError(
                "has no effect: no distillation of the recipe has the student 'model' and leaves "
                "open which"
            )
        return given

    def resolved_recipe(self) -> Recipe:
        """The recipe with this job's teacher and student filled in."""
        return self.recipe.with_models(self.teacher_model_id, self.student_model_id)

    def upload_ids(self) -> dict[str, str]:
        """Every model and data set that the job uses, by the pointer to where it is named."""
        data = {} if self.dataset_id is None else {"/dataset_id": self.dataset_id}
        return {"/model_id": self.model_id, **data, **dict(self.other_models())}

    def other_models(self) -> Iterator[NamedModel]:
        """Every model that the job uses besides the one it works on, and where it is named."""
        for field in ("teacher_model_id", "student_model_id"):
            model_id = getattr(self, field)
            if model_id is not None:
                yield NamedModel(f"/{field}", model_id)
        for pointer, model_id in self.recipe.model_ids():
            yield NamedModel(f"/recipe{pointer}", model_id)
