"""Models and data sets as they are shown: what the API answers and the client reads."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import ProblemView
from app.recipes.facts import DatasetFacts, DatasetOptions, ModelFacts


class UploadView(BaseModel):
    """What models and data sets have in common. Every field is always present."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    format: str
    size_bytes: int
    sha256: str
    status: Literal["inspecting", "ready", "rejected"]
    problem: ProblemView | None = Field(description="Why it was rejected.")
    created_at: datetime


class ModelView(UploadView):
    """An uploaded model."""

    inspection: ModelFacts | None = Field(description="What was understood; null until it is.")


class DatasetView(UploadView):
    """An uploaded data set."""

    options: DatasetOptions = Field(description="How it is read, as given with the upload.")
    inspection: DatasetFacts | None = Field(description="What was understood; null until it is.")
