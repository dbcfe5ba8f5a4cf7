"""A worker's inside without Celery and without an engine: real database, real child processes."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from app import confinement
from app.accounts.principal import DEFAULT_TENANT
from app.blobs.store import BlobStore
from app.confinement import Confinement
from app.database.engine import Database
from app.database.tables import uploads
from app.ids import new_id
from app.jobs.job import Job
from app.jobs.request import JobRequest
from app.reports.report import Verdict
from app.settings import Settings
from tests.e2e.faults.reports import empty_report
from tests.fakes import a_change
from worker.engine.order import Artifact, Result
from worker.launching import Enclose, Launcher
from worker.limits import Limits
from worker.selftest import BoxReport
from worker.tasks import carry_out
from worker.workshop import Workshop, open_workshop

RESULT = Result(
    report=empty_report(),
    layers=(),
    verdict=Verdict.MET,
    artifacts=(
        Artifact(kind="tflite", format="tflite", path=Path("out/a.tflite"), filename="a.tflite"),
    ),
)
# What every child script begins with: it has said that it is ready and knows its folder.
PROLOGUE = f"""
import json, os, signal, sys, time
from pathlib import Path
def say(event, **facts):
    os.write(int(sys.argv[1]), json.dumps(dict(facts, event=event)).encode() + b"\\n")
def leave(): (folder / "out" / "result.json").write_text({RESULT.model_dump_json()!r}); say("done")
say("ready")
folder = Path(sys.argv[2])
sys.stdin.readline()
artifact = folder / "out" / "a.tflite"
"""


@dataclass(frozen=True)
class Desk:
    """One workshop, and jobs for it; the script is what its children do."""

    shop: Workshop
    script: Path

    def submit(self, **limits: float) -> Job:
        now = datetime.now(UTC)
        database = Database(self.shop.settings.resolved_database_url)
        with BlobStore(self.shop.settings.resolved_blobs).writer() as writer:
            writer.write(b"not a model")
            blob = writer.commit()
        model: dict[str, Any] = {
            "id": new_id("mdl"),
            "tenant_id": DEFAULT_TENANT,
            "kind": "model",
            "name": "lenet",
            "format": "keras",
            "size_bytes": blob.size_bytes,
            "sha256": blob.sha256,
            "status": "ready",
            "options": {},
            "created_at": now,
        }
        with database.write() as connection:
            connection.execute(insert(uploads).values(model))
        database.close()
        request = {
            "model_id": model["id"],
            "recipe": {"steps": [{"technique": "magnitude_pruning", "sparsity": 0.5}]},
            "limits": limits,
        }
        return self.shop.jobs.add(a_change(), JobRequest.model_validate(request), now=now)

    def do(self, script: str, **limits: float) -> Job:
        """The job after one delivery of its message, with a child that runs `script`."""
        self.script.write_text(PROLOGUE + script)
        job = self.submit(**limits)
        carry_out(self.shop, job.id)
        return self.shop.jobs.get(DEFAULT_TENANT, job.id)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Whose children are boxed."""
    with a_desk(tmp_path, confinement.command) as desk:
        yield desk


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Desk]:
    """Whose children have no box around them: what is left is what the worker does itself."""
    with a_desk(tmp_path, without_a_box) as desk:
        yield desk


@contextmanager
def a_desk(home: Path, enclose: Enclose, **settings: Any) -> Iterator[Desk]:
    script = home / "child.py"
    given: dict[str, Any] = {
        "home": home,
        "broker_url": f"redis+socket://{home}/nobody-listens",
        "poll_s": 0.05,
        "heartbeat_s": 0.2,
        "cancel_grace_s": 0.2,
        "job_memory_bytes": 256 << 20,
        "warm_spare": False,
    }
    shop = open_workshop(Settings(**given | settings), launcher_of(script, enclose), it_holds)
    try:
        yield Desk(shop, script)
    finally:
        shop.close()


def launcher_of(script: Path, enclose: Enclose) -> Callable[[Limits, Path], Launcher]:
    def launcher(limits: Limits, home: Path) -> Launcher:
        readable = replace(limits, readable=(str(script),))
        engine = Launcher.of_engine(readable, home)
        return replace(
            engine, program=(sys.executable, str(script)), enclose=enclose, compiled=None
        )

    return launcher


def it_holds(_: Path, __: tuple[str, ...]) -> BoxReport:
    """In place of the self-test, which has tests of its own."""
    return BoxReport(failed=(), lacking=("speed",), user="root", landlock_abi=6)


def without_a_box(_: Confinement, program: Sequence[str], __: int) -> list[str]:
    return list(program)
