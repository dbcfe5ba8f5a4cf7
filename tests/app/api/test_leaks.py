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


def break_everything(api: Api, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    """Every method of every service, and every check, fails this way."""

    def failing(*_: Any, **__: Any) -> Any:
        raise failure

    for field in dataclasses.fields(api.services):
        part = getattr(api.services, field.name)
        kind = type(part)
        if kind.__module__.startswith("app.") and not isinstance(part, BaseModel):
            for name in public_methods(kind):
                monkeypatch.setattr(kind, name, failing)
    checks: Any = api.services.checks
    for name in checks:
        monkeypatch.setitem(checks, name, failing)


def public_methods(kind: type) -> Iterator[str]:
    for name in dir(kind):
        if not name.startswith("_") and callable(getattr(kind, name)):
            yield name


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_failure_behind_a_path_stays_behind_it(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    with monkeypatch.context() as patches, caplog.at_level(logging.INFO):
        break_everything(api, patches, failure)
        failed = 0
        for method, path in OPERATIONS:
            filled = re.sub(r"\{[^}]*\}", "id_1", path)
            body = {"json": a_body("mdl_1")} if "job" in path else {"content": b"a,b\n1,2\n"}
            answer = await api.http.request(method, filled, **(body if method == "POST" else {}))
            text = f"{answer.text} {answer.headers}"
            assert [word for word in INSIDE if word in text] == [], (method, path, text)
            failed += answer.status_code >= 500
    assert failed > len(OPERATIONS) / 2
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert lines
    assert [line for line in lines if "penjing:hunter2" in line] == []
