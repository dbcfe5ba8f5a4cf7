"""`penjing up` and the commands that talk to it: real broker, API, worker; real kills."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.client import Client
from app.embedded.stack import API_GRACE_S, BROKER_GRACE_S, WORKER_MARGIN_S
from app.jobs.job import JobState
from app.settings import Settings
from tests.e2e.faults.test_endless_models import assert_time_ends_an_endless_graph
from tests.e2e.stacks import (
    MODEL,
    PENJING,
    START_LIMIT_S,
    Up,
    alive,
    kill,
    penjing,
    penjing_up,
    small_digits,
    until,
)

# Every part may use its whole grace; a busy machine needs a moment on top.
STOP_LIMIT_S = 10 + (API_GRACE_S + Settings().shutdown_grace_s + WORKER_MARGIN_S + BROKER_GRACE_S)
QUICK = ("--prune", "0.5", "--epochs", "1", "--int8", "--scale", "1/255")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with penjing_up(tmp_path_factory.mktemp("stack") / "home") as stack:
        yield stack


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_digits(tmp_path_factory.mktemp("digits"), train_rows=200)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


# Nothing is left behind


def test_stack_leaves_no_process_when_it_is_killed(tmp_path: Path) -> None:
    with penjing_up(tmp_path / "home") as stack:
        # The worker's spare is a child of a child: it must go, too.
        until(lambda: len(stack.everything()) >= 5, 30, "a warm spare beside the three parts")
        everything = stack.everything()
        kill(stack.process.pid)
        until(lambda: not any(map(alive, everything)), 10, "every process is gone")


def test_stack_leaves_no_process_when_it_is_terminated(tmp_path: Path) -> None:
    with penjing_up(tmp_path / "home") as stack:
        everything = stack.everything()
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(timeout=STOP_LIMIT_S) == 0
        assert not any(map(alive, everything))
        assert not (stack.home / "stack.json").exists()


def test_optimize_leaves_no_process_when_it_started_the_stack_itself(
    tmp_path: Path, digits: Path
) -> None:
    home = tmp_path / "home"
    ended = penjing(
        "optimize",
        str(MODEL),
        "--data",
        str(digits),
        *QUICK,
        "-o",
        str(tmp_path / "out"),
        home=home,
    )
    assert ended.returncode == 0, ended.stderr
    assert not (home / "stack.json").exists()
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if _belongs_to(pid, home)]


def _belongs_to(process: Path, home: Path) -> bool:
    try:
        return str(home) in (process / "cmdline").read_text() + (process / "environ").read_text()
    except OSError:
        return False


# What dies comes back


@pytest.mark.parametrize("name", ["broker", "worker", "api"])
def test_stack_restarts_a_part_when_it_is_killed(up: Up, name: str) -> None:
    before = up.parts[name]
    kill(before)
    until(lambda: up.parts[name] != before, 10, f"another {name}")
    until(lambda: is_ready(up.url), START_LIMIT_S, "ready again")
    assert up.process.poll() is None


def test_event_stream_has_no_gap_when_the_api_is_killed(up: Up, tmp_path: Path) -> None:
    data = small_digits(tmp_path, train_rows=2000)
    recipe = {"steps": [{"technique": "fine_tuning", "epochs": 3}]}
    with Client(up.url) as client:
        model_id, dataset_id = client.upload_model(MODEL).id, client.upload_dataset(data).id
        job = client.submit(
            {"model_id": model_id, "dataset_id": dataset_id, "recipe": recipe, "outputs": ["keras"]}
        )
        seen: list[int] = []
        for event in client.events(job.id):
            seen.append(event.seq)
            if len(seen) in (3, 6):
                kill(up.parts["api"])
        final = client.job(job.id)
    assert final.state is JobState.SUCCEEDED
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) > 6


# Commands


def test_second_stack_is_refused_when_one_runs_on_the_home(up: Up) -> None:
    ended = penjing("up", "--port", "0", "--json", home=up.home)
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["problem"]["code"] == "home_in_use"
    assert up.url in ended.stderr


def test_optimize_uses_the_running_stack_and_leaves_verified_files(
    up: Up, digits: Path, tmp_path: Path
) -> None:
    ended = penjing(
        *("optimize", str(MODEL), "--data", str(digits), *QUICK),
        *("-o", str(tmp_path / "out"), "--json"),
        home=up.home,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["job"]["verdict"] == "met"
    artifacts = result["files"]["artifacts"]
    assert set(artifacts) == {"keras", "tflite"}
    sizes = {item["kind"]: item["size_bytes"] for item in result["job"]["artifacts"]}
    assert {kind: Path(path).stat().st_size for kind, path in artifacts.items()} == sizes
    report = json.loads(Path(result["files"]["report"]).read_text())
    assert report["optimized"]["size_bytes"] == sizes["tflite"]
    assert alive(up.process.pid)


def test_optimize_exits_with_three_when_a_target_is_missed(
    up: Up, digits: Path, tmp_path: Path
) -> None:
    ended = penjing(
        *("optimize", str(MODEL), "--data", str(digits), "--float16", "--scale", "1/255"),
        *("--max-size", "10B", "-o", str(tmp_path / "out")),
        home=up.home,
    )
    assert ended.returncode == 3, ended.stderr
    assert "Target missed" in ended.stdout
    assert list((tmp_path / "out").glob("*.tflite"))


def test_optimize_exits_with_two_and_a_pointer_when_a_value_is_out_of_range(
    up: Up, digits: Path
) -> None:
    ended = penjing(
        "optimize", str(MODEL), "--data", str(digits), "--prune", "2", "--json", home=up.home
    )
    assert ended.returncode == 2
    problem = json.loads(ended.stdout)["problem"]
    assert "/recipe/steps/0/sparsity" in [error["pointer"] for error in problem["errors"]]


def test_optimize_cancels_its_job_when_it_is_interrupted(
    up: Up, digits: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "long.json"
    recipe.write_text('{"steps": [{"technique": "fine_tuning", "epochs": 1000}]}')
    command = (
        *(*PENJING, "optimize", str(MODEL), "--data", str(digits), "--recipe", str(recipe)),
        *("--json", "--home", str(up.home)),
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        accepted = next(line for line in process.stderr if "was accepted" in line)
        job_id = accepted.split()[1]
        with Client(up.url) as client:
            until(lambda: client.job(job_id).state == "running", 30, "the job runs")
            process.send_signal(signal.SIGINT)
            drained = threading.Thread(target=process.stderr.read)
            drained.start()
            assert process.wait(timeout=30) == 4
            drained.join()
            assert client.job(job_id).state is JobState.CANCELLED


def test_jobs_are_listed_shown_watched_and_retried(up: Up, digits: Path, tmp_path: Path) -> None:
    made = penjing(
        *("optimize", str(MODEL), "--data", str(digits), "--float16", "--json"),
        *("-o", str(tmp_path / "out")),
        home=up.home,
    )
    job_id = json.loads(made.stdout)["job"]["id"]
    listed = json.loads(penjing("jobs", "list", "--json", home=up.home).stdout)
    assert listed["items"][0]["id"] == job_id
    shown = json.loads(penjing("jobs", "show", job_id, "--json", home=up.home).stdout)
    assert shown["state"] == "succeeded"
    watched = penjing("jobs", "watch", job_id, "--json", home=up.home)
    assert (watched.returncode, json.loads(watched.stdout)["id"]) == (made.returncode, job_id)
    retried = penjing("jobs", "retry", job_id, "--watch", "--json", home=up.home)
    assert json.loads(retried.stdout)["retry_of"] == job_id
    cancelled = penjing("jobs", "cancel", job_id, "--json", home=up.home)
    assert json.loads(cancelled.stdout)["state"] == "succeeded"


def test_show_exits_with_two_when_there_is_no_such_job(up: Up) -> None:
    ended = penjing("jobs", "show", "job_none", home=up.home)
    assert ended.returncode == 2
    assert "not_found" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_doctor_finds_the_running_stack_ready(up: Up) -> None:
    ended = penjing("doctor", "--json", home=up.home)
    checks = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert checks["stack"]["status"] == "ok"
    assert up.url in checks["stack"]["found"]
    assert ended.returncode == 0


def test_inspect_says_what_an_uploaded_model_is(up: Up) -> None:
    with Client(up.url) as client:
        model_id = client.upload_model(MODEL).id
    ended = penjing("inspect", model_id, "--json", home=up.home)
    assert json.loads(ended.stdout)["inspection"]["parameter_count"] == 431_080


def test_model_that_never_ends_is_ended_in_time(up: Up) -> None:
    assert_time_ends_an_endless_graph(up)


def test_home_opens_nothing_to_others_but_the_way_to_folders_of_jobs(up: Up) -> None:
    modes = {path.name: path.stat().st_mode & 0o077 for path in up.home.iterdir()}
    assert {"penjing.db", "logs", "run"} < set(modes)
    assert {name for name, mode in modes.items() if mode} <= {"work", "inspections"}
    assert modes["work"] == 0o011
