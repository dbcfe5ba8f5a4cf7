"""What a recipe may hold: one entry a technique, read from `app/recipes/steps/`."""

import inspect
from functools import cache
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.complaints import unknown_name
from app.api.paging import PageView
from app.api.scopes import Reader
from app.errors import NotFound
from app.recipes.facts import ModelFormat
from app.recipes.steps import Conversion, Step, step_types
from app.recipes.steps.base import Need

router = APIRouter(prefix="/v1/techniques", tags=["techniques"])


class TechniqueView(BaseModel):
    """One technique: what it does, what it takes and what it needs."""

    name: str
    summary: str
    kind: Literal["transform", "conversion"] = Field(
        description="A transform changes the model; a conversion writes the file and comes last."
    )
    parameters: dict[str, Any] = Field(description="JSON Schema of one step of a recipe.")
    needs: list[Need] = Field(description="What it cannot do without, whatever its parameters.")
    formats: list[ModelFormat] = Field(description="Formats of the models it works on.")
    paper: str | None


@router.get("")
def list_techniques(_principal: Reader) -> PageView[TechniqueView]:
    """List every technique with the JSON Schema of its parameters."""
    return PageView(
        items=[technique_view(name, step) for name, step in step_types().items()], next_cursor=None
    )


@router.get("/{name}")
def get_technique(name: str, _principal: Reader) -> TechniqueView:
    """Describe one technique."""
    if name not in step_types():
        raise NotFound(unknown_name(name, step_types(), "technique"))
    return technique_view(name, step_types()[name])


@cache
def technique_view(name: str, step: type[Step]) -> TechniqueView:
    return TechniqueView(
        name=name,
        summary=" ".join((inspect.getdoc(step) or name).split()),
        kind="conversion" if issubclass(step, Conversion) else "transform",
        parameters=step.model_json_schema(),
        needs=sorted(step.needs),
        formats=sorted(step.formats),
        paper=step.paper,
    )
