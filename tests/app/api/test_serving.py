"""The API as a process of its own: what it logs, and what it does when its disk fails it."""

import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from tests.app.api.serving import UVICORN, free_port, served

ROWS = b"a,label\n" + b"1,0\n2,1\n" * 20

Serving = Callable[[Path, IO[str]], AbstractContextManager[str]]


@contextmanager
def by_uvicorn(home: Path, stderr: IO[str]) -> Iterator[str]:
    """As the image starts it."""
    port = free_port()
    with served(home, port, command=(*UVICORN, "--port", str(port)), stderr=stderr):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def by_stack(home: Path, stderr: IO[str]) -> Iterator[str]:
    """As the embedded stack starts it: on a socket that it inherits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        command = (sys.executable, "-m", "app.embedded.serve", str(fd))
        with served(home, port, command=command, pass_fds=(fd,), stderr=stderr):
            yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("serving", [by_uvicorn, by_stack])
def test_log_names_the_request_when_its_error_was_unforeseen(
    tmp_path: Path, serving: Serving
) -> None:
    log = tmp_path / "stderr"
    with log.open("w") as stderr, serving(tmp_path, stderr) as url, http(url) as client:
        dataset_id = client.post("/v1/datasets", content=ROWS).json()["id"]
        with closing(sqlite3.connect(tmp_path / "penjing.db")) as database, database:
            database.execute("UPDATE uploads SET status = 'impossible'")
        path = f"/v1/datasets/{dataset_id}"
        answer = client.get(path, headers={"X-Request-ID": "mine-1"})
        assert (answer.status_code, answer.json()["request_id"]) == (500, "mine-1")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [failed] = [line for line in lines if line.get("request_id") == "mine-1"]
    assert (failed["event"], failed["method"], failed["path"]) == ("request.failed", "GET", path)
    assert "'impossible' is not a valid UploadStatus" in failed["traceback"]
    assert len([line for line in lines if f"GET {path} " in line["event"]]) == 1


def http(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=60)
