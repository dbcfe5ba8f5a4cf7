"""What a worker has: opened whole, and given back whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.accounts.principal import DEFAULT_TENANT
from app.database.engine import Database
from app.embedded.stack import cannot_confine
from app.jobs.job import JobState
from app.jobs.presence import Box, Standing, Worker, WorkerPresence
from app.jobs.queue import QUEUE, CeleryQueue
from app.logs import JsonFormatter
from app.settings import Settings
from tests.e2e.faults.conftest import wait_until
from tests.worker.conftest import Desk, it_holds, launcher_of, without_a_box
from worker.launching import Launcher
from worker.limits import Limits
from worker.selftest import BoxReport
from worker.shift import Shift
from worker.spares import Spares
from worker.tasks import carry_out
from worker.workshop import Examine, Workshop, open_workshop, standing_of

# What `it_holds` found.
BOX = Box(landlock_abi=6, user="root's number with none of its rights", lacking=("speed",))


@pytest.fixture
def shift(tmp_path: Path) -> Shift:
    settings = Settings(
        home=tmp_path, broker_url=f"redis+socket://{tmp_path}/nobody-listens", warm_spare=False
    )
    return Shift(settings, launcher_of(tmp_path / "child.py", without_a_box), it_holds)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """What was closed, in order."""
    noted: list[type] = []
    for kind in (Spares, CeleryQueue, Database):
        monkeypatch.setattr(kind, "close", noting(kind, kind.close, noted))
    return noted


def noting(kind: type, close: Callable[[Any], None], noted: list[type]) -> Callable[[Any], None]:
    def closing(thing: object) -> None:
        noted.append(kind)
        close(thing)

    return closing


def test_shift_gives_everything_back_when_it_was_never_begun(
    shift: Shift, closed: list[type]
) -> None:
    shift.open()

    shift.close()

    assert closed == [Spares, CeleryQueue, Database]
    assert not shift.workshop.folder.exists()


def test_box_is_tried_with_what_all_jobs_may_read(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def examine(folder: Path, readable: tuple[str, ...]) -> BoxReport:
        asked.append(readable)
        return it_holds(folder, readable)

    def of_engine(limits: Limits, home: Path) -> Launcher:
        return Launcher.of_engine(replace(limits, readable=("/tests",)), home)

    settings = Settings(home=tmp_path, broker_url=f"redis+socket://{tmp_path}/s", warm_spare=False)
    open_workshop(settings, of_engine, examine).close()

    [(tests, code)] = asked
    assert tests == "/tests"
    assert Path(code).name.startswith("compiled-")


def test_worker_without_a_database_ends_and_can_be_started_again(tmp_path: Path) -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "celery", "--app", "worker.celery_app", "worker"],
        env={
            **os.environ,
            "PENJING_HOME": str(tmp_path),
            "PENJING_DATABASE_URL": "postgresql://penjing:hunter2@127.0.0.1:1/penjing",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert worker.returncode == 1
    assert '"event": "worker.unfit"' in worker.stderr
    assert "Connection refused" in worker.stderr
    assert "hunter2" not in worker.stderr


def test_worker_whose_children_do_not_start_ends(
    shift: Shift, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_start(_: Spares) -> None:
        raise OSError("Cannot allocate memory")

    shift.open()
    monkeypatch.setattr(Spares, "begin", cannot_start)
    with pytest.raises(SystemExit) as ended:
        shift.begin()
    assert ended.value.code == 1
    shift.close()


def test_shift_gives_everything_back_when_the_database_is_away(
    shift: Shift, closed: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("DELETE", {}, Exception("server closed the connection"))

    shift.open()
    monkeypatch.setattr(WorkerPresence, "leave", away)

    shift.close()

    assert closed == [Spares, CeleryQueue, Database]


def test_workshop_gives_everything_back_when_it_cannot_be_opened(
    shift: Shift, closed: list[type]
) -> None:
    (shift.settings.home / "work").write_text("no folder")

    with pytest.raises(SystemExit) as ended:
        shift.open()
    shift.close()

    assert isinstance(ended.value.__cause__, FileExistsError)
    assert closed == [CeleryQueue, Database]


def it_does_not_hold(_: Path, __: tuple[str, ...]) -> BoxReport:
    return BoxReport(failed=("this kernel has no Landlock",))


@pytest.mark.parametrize(
    ("examine", "may_be_unconfined", "standing"),
    [
        (it_holds, False, Standing.CONFINED),
        (it_holds, True, Standing.CONFINED),
        (it_does_not_hold, False, Standing.TAKES_NONE),
        (it_does_not_hold, True, Standing.UNCONFINED),
    ],
)
def test_worker_takes_jobs_where_the_box_holds_or_the_operator_said_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    examine: Examine,
    may_be_unconfined: bool,
    standing: Standing,
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of this process stay
    settings = Settings(
        home=tmp_path,
        broker_url=f"redis+socket://{tmp_path}/nobody-listens",
        warm_spare=False,
        allow_unconfined=may_be_unconfined,
    )
    shift = Shift(settings, launcher_of(tmp_path / "child.py", without_a_box), examine)
    shift.open()
    shop, queue = shift.workshop, Consumer()

    shift.begin(sender=queue)
    wait_until(lambda: bool(seen(shop)), "the worker has said that it lives")

    assert queue.cancelled == ([QUEUE] if standing is Standing.TAKES_NONE else [])
    assert seen(shop) == [Worker(shop.name, standing, BOX if examine is it_holds else None)]
    shift.close()


@pytest.mark.parametrize(("is_allowed", "is_hopeless"), [(False, True), (True, False)])
def test_stack_understands_what_a_worker_without_a_box_logs(
    caplog: pytest.LogCaptureFixture, is_allowed: bool, is_hopeless: bool
) -> None:
    standing_of(it_does_not_hold(Path(), ()), Settings(allow_unconfined=is_allowed))
    line = JsonFormatter().format(caplog.records[-1]).encode()

    refusal = cannot_confine(b"something else\n{}\n[]\n" + line + b"\n")

    assert (refusal is not None) is is_hopeless
    assert refusal is None or "this kernel has no Landlock" in refusal.detail


def test_worker_without_a_box_leaves_every_job_queued(desk: Desk) -> None:
    job = desk.submit()

    carry_out(replace(desk.shop, standing=Standing.TAKES_NONE), job.id)

    left = desk.shop.jobs.get(DEFAULT_TENANT, job.id)
    assert (left.state, left.attempt) == (JobState.QUEUED, 0)


def seen(shop: Workshop) -> list[Worker]:
    return shop.presence.live_workers(shop.clock(), 10)


class Consumer:
    """Of Celery, as far as a worker needs it to stop taking messages."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def cancel_task_queue(self, name: str) -> None:
        self.cancelled.append(name)
