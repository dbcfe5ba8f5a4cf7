"""Jobs as they are shown: what the API answers and the client reads."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from app.errors import ProblemView
from app.jobs.job import Job, JobState
from app.jobs.request import Limits
from app.recipes.constraints import Constraints
from app.recipes.outputs import OutputKind
from app.recipes.recipe import Recipe
from app.reports.report import LayerReport, Report, Verdict

# Below these, the time already spent says nothing about the time left.
LEAST_PROGRESS = 0.02
LEAST_ELAPSED_S = 1.0


@dataclass(frozen=True)
class DocumentedAs:
    """Marks data that is shown as it was stored: a model describes it, but does not judge it again.

    What an earlier version stored stays readable that way.
    """

    model: type[BaseModel]

    def __get_pydantic_json_schema__(
        self, _stored: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(self.model.__pydantic_core_schema__)


StoredRecipe = Annotated[dict[str, Any], DocumentedAs(Recipe)]
StoredReport = Annotated[dict[str, Any], DocumentedAs(Report)]


class View(BaseModel):
    """Outputs have no defaults: every field is always present, null if unknown."""

    model_config = ConfigDict(frozen=True)


class ArtifactView(View):
    """A file that a job made."""

    id: str
    kind: OutputKind
    format: str
    size_bytes: int
    sha256: str
    url: str = Field(description="Path of its content on this server.")


class ArtifactsView(View):
    """All files that a job made."""

    items: list[ArtifactView]


class LayersView(View):
    """The per-layer table of a job's report."""

    items: list[LayerReport]


class JobView(View):
    """A job: what was asked for, how far it is, what came out."""

    id: str
    name: str
    state: JobState
    phase: str | None = Field(description="What a running job is doing.")
    progress: float = Field(description="Of the whole job, in [0, 1].")
    queue_position: int | None = Field(
        description="1 = the next of your queued jobs; null once it left the queue."
    )
    eta_s: float | None = Field(description="Seconds to go, from the progress so far.")
    verdict: Verdict | None = Field(description="How a succeeded job met its constraints.")
    attempt: int = Field(description="0 until a worker takes it; 2 and more after a lost worker.")
    cancel_requested: bool
    model_id: str
    dataset_id: str | None
    teacher_model_id: str | None
    student_model_id: str | None
    recipe: StoredRecipe = Field(description="With every default filled in.")
    constraints: Constraints
    outputs: list[OutputKind]
    control: bool
    limits: Limits
    tags: dict[str, str]
    error: ProblemView | None
    report: StoredReport | None = Field(description="Null until the job succeeded.")
    artifacts: list[ArtifactView]
    retry_of: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class EventView(View):
    """One thing that happened to a job. `seq` counts from 1 without gaps."""

    seq: int
    at: datetime
    type: str
    data: dict[str, Any]


def eta_s(job: Job, now: datetime) -> float | None:
    """Seconds until a running job is done if it goes on at the pace of this attempt."""
    if job.state is not JobState.RUNNING or job.started_at is None:
        return None
    # `started_at` is of the first attempt; a later one began after the job was queued again.
    elapsed_s = (now - max(job.started_at, job.queued_at)).total_seconds()
    if job.progress < LEAST_PROGRESS or elapsed_s < LEAST_ELAPSED_S:
        return None
    return round(elapsed_s * (1 - job.progress) / job.progress, 1)
