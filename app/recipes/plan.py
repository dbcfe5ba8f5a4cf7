"""What a job would do: the answer to `POST /v1/jobs:validate`."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from app.recipes.steps.base import Need
from app.recipes.task import Task


class PlannedStep(BaseModel):
    """One step with every default filled in, and what it will do in a sentence."""

    model_config = ConfigDict(frozen=True)

    technique: str
    parameters: dict[str, Any]
    summary: str


class PlannedSkip(BaseModel):
    """What will be left out, and why."""

    model_config = ConfigDict(frozen=True)

    step: int
    what: str
    reason: str


class Plan(BaseModel):
    """A checked recipe for this model and this data."""

    model_config = ConfigDict(frozen=True)

    steps: tuple[PlannedStep, ...]
    skipped: tuple[PlannedSkip, ...]
    needs: tuple[Need, ...]
    understood: tuple[str, ...]
    warnings: tuple[str, ...]
    tasks: tuple[Task, ...]
    optimizer_steps: int
