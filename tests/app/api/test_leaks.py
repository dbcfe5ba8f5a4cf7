"""Whatever goes wrong behind whichever path, no answer shows the inside, and no log a password.

The paths are those of the OpenAPI document, so that a new one is looked at without a new test.
"""

import dataclasses
import errno
import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from app.api.openapi import document
from app.logs import JsonFormatter
from tests.app.api.conftest import Api
from tests.app.api.given import a_body

pytestmark = pytest.mark.anyio

PATH = "/srv/backroom/path"
URL = "postgresql://penjing:hunter2@db.internal:5432/penjing"
STATEMENT = "INSERT INTO backroom_table VALUES (?)"
INSIDE = ("backroom", "hunter2", "db.internal", "Traceback", ".py", "site-packages", "Error(")

FAILURES = [
    RuntimeError(f"cannot open {PATH}"),
    ValueError(f"bad URL {URL}"),
    KeyError(PATH),
    OSError(errno.EACCES, "Permission denied", PATH),
    FileNotFoundError(errno.ENOENT, "No such file or directory", PATH),
    OSError(errno.ENOSPC, "No space left on device", PATH),
    sqlite3.OperationalError(f"unable to open database file {PATH}"),
    ConnectionError(f"Error 111 connecting to {URL}"),
    OperationalError(STATEMENT, {"key": "hunter2"}, Exception(f"server at {URL} is gone")),
    IntegrityError(STATEMENT, {"key": "hunter2"}, Exception("UNIQUE failed: backroom.key")),
    StatementError("backroom type", STATEMENT, {"key": "hunter2"}, TypeError(URL)),
    ExceptionGroup(PATH, [ValueError(URL)]),
    RecursionError(PATH),
    MemoryError(PATH),
    UnicodeDecodeError("utf-8", PATH.encode(), 0, 1, "backroom reason"),
]

OPERATIONS = [
    (method.upper(), path)
    for path, methods in json.loads(document())["paths"].items()
    for method in methods
]


class Breakage:
    """Every method of every service, and every check, fails with what is set at the moment."""

    def __init__(self, api: Api, patches: pytest.MonkeyPatch) -> None:
        self.failure: BaseException = RuntimeError()
        for field in dataclasses.fields(api.services):
            part = getattr(api.services, field.name)
            kind = type(part)
            if kind.__module__.startswith("app.") and not isinstance(part, BaseModel):
                for name in public_methods(kind):
                    patches.setattr(kind, name, self.fail)
        checks: Any = api.services.readiness.checks
        for name in checks:
            patches.setitem(checks, name, self.fail)

    def fail(self, *_: Any, **__: Any) -> Any:
        raise self.failure


def public_methods(kind: type) -> Iterator[str]:
    for name in dir(kind):
        if not name.startswith("_") and callable(getattr(kind, name)):
            yield name


async def test_failure_behind_a_path_stays_behind_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure behind some path, each path with some failure."""
    await walk(api, monkeypatch, caplog, rounds=1)


@pytest.mark.hostile
async def test_each_failure_behind_each_path_stays_behind_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await walk(api, monkeypatch, caplog, rounds=len(FAILURES))


async def walk(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rounds: int
) -> None:
    failed: set[int] = set()
    with monkeypatch.context() as patches, caplog.at_level(logging.INFO):
        breakage = Breakage(api, patches)
        for first in range(rounds):
            for index, (method, path) in enumerate(OPERATIONS):
                number = (first + index) % len(FAILURES)
                breakage.failure = FAILURES[number]
                answer = await asked(api, method, path)
                text = f"{answer.text} {answer.headers}"
                assert [word for word in INSIDE if word in text] == [], (method, path, text)
                if answer.status_code >= 500:
                    failed.add(number)
    assert failed == set(range(len(FAILURES)))
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any(PATH in line for line in lines), "the log says what the answers do not"
    assert [line for line in lines if "penjing:hunter2" in line] == []


async def asked(api: Api, method: str, path: str) -> httpx.Response:
    filled = re.sub(r"\{[^}]*\}", "id_1", path)
    if method != "POST":
        return await api.http.request(method, filled)
    if "job" in path:
        return await api.post(filled, json=a_body("mdl_1"))
    if "keys" in path:
        return await api.post(filled, json={"name": "x", "scopes": ["read"]})
    return await api.post(filled, content=b"a,b\n1,2\n")
