"""Models that never end, and trainings that take years, end at the limit of their job's time."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.faults.conftest import wait_until
from tests.e2e.faults.test_hostile_trainings import processes_in
from tests.e2e.stacks import Up, penjing_up, until
from tests.hostile_files import hostile_file

pytestmark = pytest.mark.e2e

# Where TensorFlow is still being imported when the first is over, there was no model yet.
RUN_S, MARGIN_S = (4, 12, 40), 30
FLOAT16: dict[str, Any] = {
    "recipe": {"steps": [{"technique": "float16_quantization"}]},
    "outputs": ["tflite"],
}
YEARS: dict[str, Any] = {
    "recipe": {"steps": [{"technique": "fine_tuning", "epochs": 1000, "batch_size": 1}] * 20},
    "outputs": ["keras"],
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with penjing_up(tmp_path_factory.mktemp("endless") / "home") as up:
        yield up


def sent(http: httpx.Client, route: str, name: str, content: bytes) -> str:
    answer = http.post(route, params={"name": name}, content=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def from_corpus(http: httpx.Client, name: str) -> str:
    file = hostile_file(name)
    return sent(http, file.route, file.name, file.content)


def ended(http: httpx.Client, body: dict[str, Any], run_s: float) -> dict[str, Any]:
    answer = http.post("/v1/jobs", json=body | {"limits": {"run_s": run_s}})
    assert answer.status_code == 202, answer.text

    def final() -> dict[str, Any] | None:
        path = f"/v1/jobs/{answer.json()['id']}"
        job: dict[str, Any] = http.get(path, headers={"Prefer": "wait=10"}).json()
        return job if job["finished_at"] else None

    found: dict[str, Any] = until(final, run_s + MARGIN_S, "the job is final")
    return found


def stage_reached(http: httpx.Client, body: dict[str, Any]) -> str:
    """Where the job was when its time was over."""
    for run_s in RUN_S:
        job = ended(http, body, run_s)
        assert (job["state"], job["error"]["code"]) == ("timed_out", "run_time_exceeded")
        if job["error"]["stage"] != "starting":
            return str(job["error"]["stage"])
    raise AssertionError(f"TensorFlow could not be imported within {RUN_S[-1]} s")


def assert_time_ended_it(up: Up, http: httpx.Client, body: dict[str, Any], stage: str) -> None:
    worker, work = up.parts["worker"], up.home / "work"

    assert stage_reached(http, body) == stage

    # One is warm, and waits for the next job.
    wait_until(lambda: len(list(work.glob("*/*/scratch"))) <= 1, "the folder is gone")
    wait_until(lambda: len(processes_in(work)) <= 1, "the processes are gone")
    assert not list(work.glob("checkpoints/*"))
    assert up.parts["worker"] == worker


def assert_time_ends_an_endless_graph(up: Up) -> None:
    """One of TensorFlow Lite; `tests/e2e/test_stack.py` has a stack to try it on."""
    with httpx.Client(base_url=up.url, timeout=60) as http:
        body = FLOAT16 | {"model_id": from_corpus(http, "t14")}
        assert_time_ended_it(up, http, body, "measuring")


@pytest.mark.hostile
def test_saved_model_that_never_ends(up: Up, tmp_path: Path) -> None:
    with httpx.Client(base_url=up.url, timeout=60) as http:
        model_id = sent(http, "/v1/models", "endless.zip", endless_saved_model(tmp_path))
        assert_time_ended_it(up, http, FLOAT16 | {"model_id": model_id}, "measuring")


@pytest.mark.hostile
def test_training_of_years(up: Up) -> None:
    with httpx.Client(base_url=up.url, timeout=60) as http:
        ids = {"model_id": from_corpus(http, "m01"), "dataset_id": from_corpus(http, "d32")}
        assert_time_ended_it(up, http, YEARS | ids, "step 1: fine_tuning")


def endless_saved_model(folder: Path) -> bytes:
    """Of rows, as a converter wants them; each is added up for ever."""
    import tensorflow as tf

    class Endless(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
        def serve(self, rows: Any) -> Any:
            (added,) = tf.while_loop(
                lambda one: tf.reduce_all(one < 1e30),
                lambda one: (one * 1.0,),
                (tf.clip_by_value(rows, 0.0, 1.0),),
            )
            return {"added": added}

    model = Endless()
    tf.saved_model.save(model, str(folder / "endless"), signatures=model.serve)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path in sorted((folder / "endless").rglob("*")):
            archive.write(path, path.relative_to(folder / "endless"))
    return written.getvalue()
