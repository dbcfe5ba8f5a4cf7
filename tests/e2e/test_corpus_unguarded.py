"""The inspector is off, and the box stands alone: what hostile files come to as jobs.

Every file that the door lets in is loaded, measured and converted by a real worker. Its payload
runs if it can; then it would leave a mark or bring the canary home.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.stacks import Up, penjing_up, until
from tests.hostile_files import HostileFile, Marks, hostile_file, hostile_files, marks

# Code in a Lambda, and an operator that writes while it is loaded.
WORST = tuple(map(hostile_file, ("k01", "s03")))
# By what they are: data, HDF5, Keras (two), SavedModel and other archives, TensorFlow Lite.
GROUPS = ("cdq", "h", "k", "m", "sz", "t")
# An honest job has time enough, on a busy machine too.
HOSTILE_RUN_S, HONEST_RUN_S, JOB_LIMIT_S = 20, 200, 240
SETTINGS = {"PENJING_INSPECT_UPLOADS": "0", "PENJING_WORKER_CONCURRENCY": "2"}
FINE_TUNING: dict[str, Any] = {"technique": "fine_tuning", "epochs": 1}
PRUNING: dict[str, Any] = {"technique": "magnitude_pruning", "sparsity": 0.5}
FLOAT16: dict[str, Any] = {"technique": "float16_quantization"}


@dataclass(frozen=True)
class Unguarded:
    """A stack without an inspector, and honest files beside which the others are used."""

    up: Up
    http: httpx.Client
    left: Marks
    model_id: str
    dataset_id: str

    def sent(self, file: HostileFile) -> httpx.Response:
        return self.http.post(file.route, params={"name": file.name}, content=file.content)

    def body(self, file: HostileFile, upload_id: str) -> dict[str, Any]:
        """A job that loads the file in full, and trains or converts with it."""
        run_s = HONEST_RUN_S if file.expect == "ok" else HOSTILE_RUN_S
        job: dict[str, Any] = {"limits": {"run_s": run_s}, "tags": {"file": file.name}}
        if file.is_dataset:
            steps, outputs = [FINE_TUNING], ["keras"]
            job |= {"model_id": self.model_id, "dataset_id": upload_id}
        elif file.name.endswith((".keras", ".h5")):
            steps, outputs = [PRUNING], ["keras", "tflite"]
            job |= {"model_id": upload_id, "dataset_id": self.dataset_id}
        else:
            steps, outputs = [FLOAT16], ["tflite"]
            job |= {"model_id": upload_id}
        return {**job, "recipe": {"steps": steps}, "outputs": outputs}

    def submitted(self, file: HostileFile) -> str | None:
        """The id of its job; None where the door keeps the file out."""
        answer = self.sent(file)
        self.check_text(answer.text)
        if answer.is_client_error:
            return None
        assert answer.status_code == 201, answer.text
        job = self.http.post("/v1/jobs", json=self.body(file, answer.json()["id"]))
        assert job.status_code == 202, job.text
        return str(job.json()["id"])

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it is final."""

        def final() -> dict[str, Any] | None:
            answer = self.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=10"})
            job: dict[str, Any] = answer.json()
            return job if job["finished_at"] else None

        found: dict[str, Any] = until(final, JOB_LIMIT_S, f"{job_id} is final")
        return found

    def check_job(self, job: dict[str, Any]) -> None:
        """Nothing of it holds the canary, a traceback or a path of this machine."""
        for path in ("", "/events", "/report", "/layers", "/artifacts"):
            answer = self.http.get(f"/v1/jobs/{job['id']}{path}", headers=AS_JSON)
            assert answer.status_code < 500, answer.text
            self.check_text(answer.text)
        for artifact in job["artifacts"]:
            assert self.left.canary.encode() not in self.http.get(artifact["url"]).content
        assert job["state"] == "succeeded" or job["error"]["code"]

    def check_text(self, text: str) -> None:
        assert self.left.canary not in text
        assert "Traceback" not in text
        assert str(self.up.home) not in text

    def check_logs(self) -> None:
        logs = [self.up.home.parent / "up.stderr", *(self.up.home / "logs").glob("*")]
        assert len(logs) > 1
        for log in logs:
            assert self.left.canary.encode() not in log.read_bytes()


AS_JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unguarded]:
    home = tmp_path_factory.mktemp("unguarded") / "home"
    with (
        marks() as left,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in SETTINGS.items():
            environment.setenv(name, value)
        with penjing_up(home) as up, httpx.Client(base_url=up.url, timeout=60) as http:
            ids = [
                http.post(file.route, params={"name": file.name}, content=file.content).json()["id"]
                for file in (hostile_file("m01"), hostile_file("d32"))
            ]
            yield Unguarded(up, http, left, *ids)


def check(unguarded: Unguarded, files: tuple[HostileFile, ...]) -> None:
    """All of them at once, then an honest job by the same worker."""
    worker = unguarded.up.parts["worker"]
    jobs = [job_id for file in files if (job_id := unguarded.submitted(file))]
    for job_id in jobs:
        unguarded.check_job(unguarded.ended(job_id))
    honest = unguarded.submitted(hostile_file("m01"))
    assert honest is not None
    job = unguarded.ended(honest)
    assert job["state"] == "succeeded", job["error"]
    assert unguarded.left.left() == []
    unguarded.check_logs()
    assert unguarded.up.parts["worker"] == worker
    assert (unguarded.left.folder / "canary.txt").read_text() == unguarded.left.canary


def test_worst_files_do_nothing_in_the_box(unguarded: Unguarded) -> None:
    check(unguarded, WORST)


def test_readiness_says_that_nothing_is_inspected(unguarded: Unguarded) -> None:
    checks = unguarded.http.get("/readyz").json()["checks"]
    assert "UPLOADS ARE NOT INSPECTED" in checks["inspection"]["detail"]


def test_groups_hold_every_file() -> None:
    assert {file.name[0] for file in hostile_files()} == set("".join(GROUPS))


@pytest.mark.hostile
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("group", GROUPS)
def test_every_file_does_nothing_in_the_box(unguarded: Unguarded, group: str) -> None:
    check(unguarded, tuple(file for file in hostile_files() if file.name[0] in group))


def test_marks_are_seen_when_one_is_left(tmp_path: Path) -> None:
    with marks() as left:
        mark = left.folder / "pwned_test"
        mark.touch()
        assert left.left() == ["pwned_test"]
        mark.unlink()
