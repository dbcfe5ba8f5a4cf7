"""The API as a process of its own: what it logs, and what it does when its disk fails it."""

import json
import re
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.app.api.serving import await_answer, served, started

ROWS = b"a,label\n" + b"1,0\n2,1\n" * 20
LARGE = b"a,label\n" + b"".join(b"%d.%0500d,%d\n" % (row, 1, row % 2) for row in range(4200))

Serving = Callable[[Path, Path], AbstractContextManager[str]]


@contextmanager
def by_address(home: Path, log: Path) -> Iterator[str]:
    """As the image starts it, but for the number, which it says itself."""

    def told() -> str | None:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text())
        return found and found[1]

    with log.open("w") as stderr, started(home, "--port", "0", stderr=stderr) as process:
        await_answer(process, told)
        url = told()
        assert url is not None
        yield url


@contextmanager
def by_stack(home: Path, log: Path) -> Iterator[str]:
    """As the embedded stack starts it: on a socket that it inherits."""
    with log.open("w") as stderr, served(home, stderr=stderr) as one:
        yield one.url


@pytest.mark.parametrize("serving", [by_address, by_stack])
def test_log_names_the_request_when_its_error_was_unforeseen(
    tmp_path: Path, serving: Serving
) -> None:
    log = tmp_path / "stderr"
    with serving(tmp_path, log) as url, http(url) as client:
        dataset_id = client.post("/v1/datasets", content=ROWS).json()["id"]
        with closing(sqlite3.connect(tmp_path / "penjing.db")) as database, database:
            database.execute("UPDATE uploads SET status = 'impossible'")
        path = f"/v1/datasets/{dataset_id}"
        answer = client.get(path, headers={"X-Request-ID": "mine-1"})
        assert (answer.status_code, answer.json()["request_id"]) == (500, "mine-1")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    of_request = [line for line in lines if line.get("request_id") == "mine-1"]
    [failed] = [line for line in of_request if line["event"] == "request.failed"]
    assert any(line["logger"] == "uvicorn.access" for line in of_request)
    assert (failed["event"], failed["method"], failed["path"]) == ("request.failed", "GET", path)
    assert "'impossible' is not a valid UploadStatus" in failed["traceback"]
    assert len([line for line in lines if f"GET {path} " in line["event"]]) == 1


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process: Linux only")
def test_upload_is_stored_nowhere_when_the_disk_is_full(tmp_path: Path) -> None:
    with served(tmp_path) as one, http(one.url) as client:
        pid = one.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        # A file that may not grow: what the store is told then is what a full disk tells it.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2**20, limits[1]))
        refused = client.post("/v1/datasets", content=LARGE)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        assert refused.headers["retry-after"] == "5"
        assert kept(tmp_path / "blobs") == []
        assert client.get("/v1/datasets").json()["items"] == []

        assert client.post("/v1/datasets", content=ROWS).status_code == 201
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert client.post("/v1/datasets", content=LARGE).status_code == 201


def test_upload_is_stored_nowhere_when_the_store_is_unwritable(tmp_path: Path) -> None:
    in_the_way = tmp_path / "plain file"
    in_the_way.touch()
    environment = {"PENJING_BLOBS": str(in_the_way / "blobs")}
    with served(tmp_path, environment=environment) as one, http(one.url) as client:
        refused = client.post("/v1/datasets", content=ROWS)
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unwritable")
        assert refused.headers["retry-after"] == "5"
        assert client.get("/v1/datasets").json()["items"] == []

        in_the_way.unlink()
        assert client.post("/v1/datasets", content=ROWS).status_code == 201


def kept(blobs: Path) -> list[Path]:
    """Every file in the blob store but its lock."""
    return [path for path in blobs.rglob("*") if path.is_file() and path.name != "lock"]


def http(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=60)


def test_passwords_of_broker_and_database_are_in_no_line_and_no_answer(tmp_path: Path) -> None:
    log = tmp_path / "stderr"
    environment = {
        # Nobody listens there, and nobody but root may.
        "PENJING_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0",
        "PENJING_DATABASE_URL": f"sqlite:///{tmp_path}/penjing.db?password=hunter2",
    }
    with (
        log.open("w") as stderr,
        served(tmp_path, environment=environment, stderr=stderr) as one,
        http(one.url) as client,
    ):
        answer = client.get("/readyz", headers={"Authorization": "Bearer hunter2"})
        assert answer.json()["checks"]["broker"]["status"] == "failing"
        client.get("/v1/jobs?key=hunter2")
        refused = client.post("/v1/jobs", json={"hunter2": "hunter2"})
        assert (refused.status_code, "hunter2" in refused.text) == (422, True)
    assert "hunter2" not in answer.text
    assert "hunter2" not in log.read_text()
