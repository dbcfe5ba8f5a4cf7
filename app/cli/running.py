"""One job from files to files: upload, submit, follow, fetch, tell."""

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.frame import DEFAULT_HOME
from app.cli.output import Output, in_words
from app.cli.step_lines import step_lines
from app.cli.tables import before_after, circumstances
from app.cli.watching import watch
from app.client import Client
from app.embedded.lock import running_stack
from app.jobs.job import JobState
from app.jobs.views import JobView
from app.recipes.constraints import Constraints
from app.recipes.facts import DatasetOptions
from app.reports.figures import bytes_text
from app.reports.report import Report, Verdict


@dataclass(frozen=True)
class Files:
    """What a job reads and where its results go."""

    model: Path
    data: Path | None
    options: DatasetOptions
    results: Path
    teacher: Path | None = None
    student: Path | None = None

    @property
    def models(self) -> dict[str, Path]:
        """Every model by the job's field that its id goes into."""
        files = {
            "model_id": self.model,
            "teacher_model_id": self.teacher,
            "student_model_id": self.student,
        }
        return {field: path for field, path in files.items() if path}

    @property
    def fields(self) -> set[str]:
        """The job's fields that the ids of these files fill."""
        return {*self.models, *(("dataset_id",) if self.data else ())}


@dataclass(frozen=True)
class Fetched:
    """What was written for a finished job."""

    report: Path
    layers: Path
    artifacts: dict[str, Path]


VERDICTS = {
    Verdict.MET: "Met: every target held.",
    Verdict.TARGET_NOT_MET: "Target missed: a constraint does not hold; the best model was kept.",
    Verdict.NO_IMPROVEMENT: "No improvement: the file became neither smaller nor faster.",
}
NO_TARGET = "No target was set; the file became smaller or faster."
NOT_MEASURED = (
    "Accuracy was not measured: no data set was given; the model may be useless. "
    "Give --data FILE to know."
)


def run_job(client: Client, files: Files, body: Mapping[str, Any], output: Output) -> JobView:
    """Carry one job through the service and leave its results in a folder."""
    job = client.submit({**body, **_uploaded(client, files, output)})
    output.say(f"Job {job.id} was accepted.")
    if job.queue_position and job.queue_position > 1:
        ahead = job.queue_position - 1
        output.say(f"It waits behind {ahead} older {'job' if ahead == 1 else 'jobs'}.")
    job = watch(client, job.id, output)
    if job.state is not JobState.SUCCEEDED:
        tell_end(job, output)
        output.give({"job": job.model_dump(mode="json"), "files": None})
        return job
    fetched = fetch(client, job, files.results)
    tell_end(job, output)
    tell_files(fetched, output)
    output.give({"job": job.model_dump(mode="json"), "files": _paths(fetched)})
    return job


def require_writable(folder: Path) -> None:
    """Raises: PermissionError and other kinds of OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def fetch(client: Client, job: JobView, folder: Path) -> Fetched:
    """Download report, layers and artifacts, verified, each put in place in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    report, layers = client.report(job.id), client.layers(job.id)
    artifacts = {str(item.kind): client.download(item, folder) for item in client.artifacts(job.id)}
    return Fetched(
        report=_write_json(folder / "report.json", report.model_dump(mode="json")),
        layers=_write_json(folder / "layers.json", [row.model_dump(mode="json") for row in layers]),
        artifacts=artifacts,
    )


def tell_end(job: JobView, output: Output) -> None:
    """How it ended: the table and the verdict, or the problem."""
    if job.report is None or job.verdict is None:
        output.say(in_words(job.error) if job.error else f"The job was {job.state}.")
        return
    report = Report.model_validate(job.report, extra="ignore")
    output.show(before_after(report))
    for line in step_lines(report):
        output.show(line)
    output.show(circumstances(report))
    for warning in report.warnings:
        output.show(f"! {warning}")
    if report.provenance.dataset_sha256 is None:
        output.show(NOT_MEASURED)
    output.show(verdict_words(job.verdict, job.constraints))


def verdict_words(verdict: Verdict, constraints: Constraints) -> str:
    """What the verdict means for this job; without a target there is none to hold."""
    has_target = any(value is not None for value in constraints.model_dump().values())
    if verdict is Verdict.MET and not has_target:
        return NO_TARGET
    return VERDICTS[verdict]


def tell_files(fetched: Fetched, output: Output) -> None:
    """What was written."""
    output.show("Files:")
    for path in (fetched.report, fetched.layers, *fetched.artifacts.values()):
        output.show(f"  {shown_path(path)}  ({bytes_text(path.stat().st_size)})")


def tell_address(job: JobView, url: str | None, home: Path, output: Output) -> None:
    """Where the service keeps the job, once the command is done."""
    running = running_stack(home)
    base = url or (running.url if running else None)
    if base is None:
        base = "http://127.0.0.1:8000"
        output.show(f"The job is kept in {shown_path(home)}; `{up_command(home)}` serves it again:")
    output.show(f"Job:    {base}/v1/jobs/{job.id}")
    if job.report is not None:
        output.show(f"Report: {base}/v1/jobs/{job.id}/report")


def up_command(home: Path) -> str:
    """What to type to serve this home from here, started as this command was."""
    started = Path(sys.argv[0])
    if started.name != "penjing":
        command = "python -m app.cli"
    else:
        found = shutil.which("penjing")
        is_on_path = found is not None and Path(found).absolute() == started.absolute()
        command = "penjing" if is_on_path else shlex.quote(shown_path(started.absolute()))
    named = "" if home == DEFAULT_HOME.absolute() else f" --home {shlex.quote(str(home))}"
    return f"{command} up{named}"


def _uploaded(client: Client, files: Files, output: Output) -> dict[str, str]:
    ids: dict[str, str] = {}
    for field, path in files.models.items():
        _say_uploading(path, output)
        ids[field] = client.upload_model(path).id
    if files.data:
        _say_uploading(files.data, output)
        ids["dataset_id"] = client.upload_dataset(files.data, options=files.options).id
    return ids


def _say_uploading(path: Path, output: Output) -> None:
    output.say(f"Uploading {shown_path(path)} ({bytes_text(path.stat().st_size)})")


def _write_json(path: Path, content: Any) -> Path:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return temporary.replace(path)


def _paths(fetched: Fetched) -> dict[str, Any]:
    return {
        "report": str(fetched.report),
        "layers": str(fetched.layers),
        "artifacts": {kind: str(path) for kind, path in fetched.artifacts.items()},
    }


def shown_path(path: Path) -> str:
    """Relative to where we are, if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
