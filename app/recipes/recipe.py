"""A recipe: ordered steps and a seed."""

from collections.abc import Iterator
from typing import Annotated, Any, Self, Union

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.recipes.patterns import MOST_PATTERNS
from app.recipes.steps import Conversion, Step, Transform, step_types
from app.recipes.steps.base import NamedModel, pattern_count

# The union is built from the files found in steps/, so it can only be spelled at run time.
AnyStep: Any = Annotated[Union[tuple(step_types().values())], Field(discriminator="technique")]  # noqa: UP007


class Recipe(BaseModel):
    """Optimization steps first, then at most one conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(0, ge=0, lt=2**31, description="Same recipe, same seed, same weights.")
    steps: tuple[AnyStep, ...] = Field(min_length=1, max_length=32, strict=False)

    @field_validator("steps", mode="before")
    @classmethod
    def _few_patterns(cls, given: object) -> object:
        """Before any of them is compiled."""
        count = sum(map(pattern_count, given)) if isinstance(given, list | tuple) else 0
        if count > MOST_PATTERNS:
            raise ValueError(
                f"the layer patterns of all steps together may be {MOST_PATTERNS} at most; "
                f"given {count}. One pattern can match many layers: 'conv.*|dense_[0-9]+'"
            )
        return given

    @property
    def transforms(self) -> tuple[Transform, ...]:
        return tuple(step for step in self.steps if isinstance(step, Transform))

    def with_models(self, teacher: str | None, student: str | None) -> Self:
        """The recipe with the job's models filled in where steps name none of their own."""
        steps = tuple(step.with_models(teacher, student) for step in self.steps)
        return self.model_copy(update={"steps": steps})

    def model_ids(self) -> Iterator[NamedModel]:
        """Every other uploaded model that a step names; pointers lead into the recipe."""
        for index, step in enumerate(self.steps):
            for named in step.model_ids():
                yield NamedModel(f"/steps/{index}{named.pointer}", named.model_id)

    @property
    def conversion(self) -> Conversion | None:
        last: Step = self.steps[-1]
        return last if isinstance(last, Conversion) else None
