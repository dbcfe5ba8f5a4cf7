"""What the inspector is told and what it answers."""

from pydantic import BaseModel, ConfigDict

from app.errors import Problem
from app.recipes.facts import DatasetFacts, DatasetOptions, ModelFacts


class InspectionOrder(BaseModel):
    """The one argument. The file itself is standard input.

    `room` is an open file to unpack into; null = one in the temporary folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    options: DatasetOptions
    room: int | None = None


class Inspection(BaseModel):
    """The answer: exactly one of `model`, `dataset`, `problem`; none where nobody looked.

    `options` are those of a data set with every default the file decided filled in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelFacts | None = None
    dataset: DatasetFacts | None = None
    options: DatasetOptions | None = None
    problem: Problem | None = None
