"""What is said once a job is done: where it is kept, and how to get back to it."""

from pathlib import Path

import pytest

from app.cli.output import Output
from app.cli.running import Files, tell_address, up_command
from app.jobs.views import JobView
from app.recipes.facts import DatasetOptions
from tests.app.test_client import job_json


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command that runs, in a folder of its own where we are."""
    path = tmp_path / "bin" / "penjing"
    path.parent.mkdir()
    path.write_text("")
    path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bin/penjing", "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    return path


def test_command_is_named_by_its_path_when_it_is_not_on_path(started: Path) -> None:
    assert up_command(Path(".penjing").absolute()) == "bin/penjing up"


def test_command_is_named_alone_when_it_is_on_path(
    started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(started.parent))
    assert up_command(Path(".penjing").absolute()) == "penjing up"


def test_command_names_the_home_when_it_is_not_the_usual_one(
    started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/x/app/cli/__main__.py"])
    assert up_command(Path("/data/my home")) == "python -m app.cli up --home '/data/my home'"


def test_files_fill_the_fields_of_the_job_that_they_are_for() -> None:
    files = Files(
        model=Path("net.keras"),
        data=Path("rows.npz"),
        options=DatasetOptions.model_validate({}),
        results=Path(),
        teacher=Path("large.keras"),
    )
    assert files.fields == {"model_id", "teacher_model_id", "dataset_id"}


@pytest.mark.parametrize(("report", "count"), [(None, 0), ({}, 1)])
def test_report_is_pointed_to_only_when_there_is_one(
    started: Path,
    capsys: pytest.CaptureFixture[str],
    report: dict[str, object] | None,
    count: int,
) -> None:
    job = JobView.model_validate(job_json(state="failed", report=report))
    tell_address(job, None, Path(".penjing").absolute(), Output(is_json=False))
    told = capsys.readouterr().out
    assert f"/v1/jobs/{job.id}\n" in told
    assert told.count("/report") == count
