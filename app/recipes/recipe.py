"""A recipe: ordered steps and a seed."""

from typing import Annotated, Any, Union

from pydantic import BaseModel, ConfigDict, Field

from app.recipes.steps import Conversion, Step, Transform, step_types

# The union is built from the files found in steps/, so it can only be spelled at run time.
AnyStep: Any = Annotated[Union[tuple(step_types().values())], Field(discriminator="technique")]  # noqa: UP007


class Recipe(BaseModel):
    """Optimization steps first, then at most one conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(0, ge=0, lt=2**31, description="Same recipe, same seed, same weights.")
    steps: tuple[AnyStep, ...] = Field(min_length=1, max_length=32, strict=False)

    @property
    def transforms(self) -> tuple[Transform, ...]:
        return tuple(step for step in self.steps if isinstance(step, Transform))

    @property
    def conversion(self) -> Conversion | None:
        last: Step = self.steps[-1]
        return last if isinstance(last, Conversion) else None
