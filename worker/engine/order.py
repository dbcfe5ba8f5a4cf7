"""What goes into the box and what comes out: the order, the events and the result of one job.

The job folder:

    in/              put there by the parent, which alone may write it:
        ...          the model and the data set
        order.json   an `Order`; the paths in it are absolute
        cancel       appears when the job is to stop; looked for at every batch
    out/             the files offered as artifacts
        result.json  a `Result`, written last
    scratch/         anything else: the home and the working folder of the child

`checkpoints` of the order is a folder that later attempts of the same job get too.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import Problem
from app.recipes.constraints import Constraints
from app.recipes.facts import DatasetFormat, DatasetOptions, ModelFormat
from app.recipes.outputs import OutputKind
from app.recipes.recipe import Recipe
from app.reports.report import LayerReport, Report, Verdict

INPUTS, OUTPUTS, SCRATCH = "in", "out", "scratch"
ORDER, CANCEL, RESULT = f"{INPUTS}/order.json", f"{INPUTS}/cancel", f"{OUTPUTS}/result.json"


# What every program after this one can hold.
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFile(Message):
    path: Path
    format: ModelFormat
    name: str
    sha256: str


class DatasetFile(Message):
    path: Path
    format: DatasetFormat
    sha256: str
    options: DatasetOptions


class Order(Message):
    """One job, with everything the engine may know of it."""

    job_id: str
    model: ModelFile
    dataset: DatasetFile | None
    others: dict[str, ModelFile] = Field(
        default_factory=dict, description="Other models that steps name, by id."
    )
    recipe: Recipe
    outputs: tuple[OutputKind, ...]
    constraints: Constraints
    control: bool
    checkpoints: Path | None = Field(
        None, description="Folder that outlives the attempt; null = a retry starts anew."
    )


class Artifact(Message):
    """One finished file in `out/`. `path` is relative to the job folder."""

    kind: OutputKind
    format: OutputKind
    path: Path
    filename: str


class Result(Message):
    report: Report
    layers: tuple[LayerReport, ...]
    verdict: Verdict
    artifacts: tuple[Artifact, ...]


class Event(Message):
    """One JSON line from the child to its parent.

    `progress` is that of the whole job, in [0, 1]. `ready` says the spare has imported everything.
    """

    event: Literal["ready", "phase", "progress", "metrics", "step", "warning", "error", "done"]
    phase: str | None = None
    progress: float | None = None
    message: str | None = None
    data: dict[str, float | Whole | str | bool | None] | None = None
    problem: Problem | None = None

    def as_line(self) -> bytes:
        """How it is sent: what was not given is left out."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"
