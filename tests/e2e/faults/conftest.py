"""A real broker, real Celery workers and a real database, with a child that only pretends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from sqlalchemy import insert

from app.accounts.principal import DEFAULT_TENANT
from app.blobs.store import BlobStore
from app.database.engine import Database
from app.database.migrate import upgrade
from app.database.tables import uploads
from app.embedded.broker import find_server, server_command
from app.ids import new_id
from app.jobs.job import Job, JobState
from app.jobs.queue import CeleryQueue
from app.jobs.request import JobRequest
from app.jobs.store import JobStore
from tests.fakes import a_change

ROOT = Path(__file__).parents[3]
TIMING = {
    "PENJING_LEASE_S": "2",
    "PENJING_HEARTBEAT_S": "0.4",
    "PENJING_POLL_S": "0.1",
    "PENJING_REAP_S": "0.5",
    "PENJING_RESEND_S": "2",
    "PENJING_SHUTDOWN_GRACE_S": "1",
    "PENJING_CANCEL_GRACE_S": "0.5",
}


def wait_until(is_so: Callable[[], bool], what: str, limit_s: float = 90) -> None:
    end = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.02)


class Farm:
    """Broker, database and workers of one test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "b.sock"
        self.environment = {
            **os.environ,
            **TIMING,
            "PENJING_HOME": str(home),
            "PENJING_BROKER_URL": f"redis+socket://{self.socket}",
        }
        self.database = Database(f"sqlite:///{home / 'penjing.db'}")
        upgrade(self.database)
        self.jobs = JobStore(self.database)
        self.queue = CeleryQueue(self.environment["PENJING_BROKER_URL"])
        self.blob = self._store_blob()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.broker = self.start_broker()

    def _store_blob(self) -> str:
        with BlobStore(self.home / "blobs").writer() as writer:
            writer.write(b"not a model")
            return writer.commit().sha256

    def start_broker(self) -> "subprocess.Popen[bytes]":
        process = self._start(server_command(find_server(), self.socket, self.home), self.home)
        client = redis.Redis(unix_socket_path=str(self.socket))
        wait_until(lambda: answers(client), "the broker answers")
        client.close()
        return process

    def flush_broker(self) -> None:
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            client.flushall()

    def start_worker(self, **settings: str) -> "subprocess.Popen[bytes]":
        before = self.workers_ready()
        command = (
            *(sys.executable, "-m", "celery", "--app", "tests.e2e.faults.fault_worker"),
            *("worker", "--pool", "threads", "--without-gossip", "--without-mingle"),
            *("--loglevel", "INFO"),
        )
        process = self._start(command, ROOT, settings)
        wait_until(lambda: self.workers_ready() > before, "the worker is ready")
        return process

    def workers_ready(self) -> int:
        return (self.home / "worker.log").read_bytes().count(b" ready.") if self._has_log else 0

    @property
    def _has_log(self) -> bool:
        return (self.home / "worker.log").exists()

    def _start(
        self, command: tuple[str, ...], cwd: Path, settings: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        with (self.home / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**self.environment, **(settings or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def submit(self, behaviour: str, *, send: bool = True, run_s: float = 60) -> Job:
        now = datetime.now(UTC)
        model_id = new_id("mdl")
        with self.database.write() as connection:
            connection.execute(
                insert(uploads).values(
                    id=model_id,
                    tenant_id=DEFAULT_TENANT,
                    kind="model",
                    name=behaviour,
                    format="keras",
                    size_bytes=11,
                    sha256=self.blob,
                    status="ready",
                    options={},
                    created_at=now,
                )
            )
        recipe = {"steps": [{"technique": "magnitude_pruning", "sparsity": 0.5}]}
        request = {"model_id": model_id, "recipe": recipe, "limits": {"run_s": run_s}}
        job = self.jobs.add(a_change(), JobRequest.model_validate(request), now=now)
        if send:
            self.queue.send(job.id)
            self.jobs.mark_sent(job.id, now)
        return job

    def state(self, job: Job) -> JobState:
        return self.jobs.get(DEFAULT_TENANT, job.id).state

    def wait_for(self, job: Job, state: JobState, limit_s: float = 90) -> Job:
        wait_until(lambda: self.state(job) == state, f"job is {state}", limit_s)
        return self.jobs.get(DEFAULT_TENANT, job.id)

    def wait_running(self, job: Job, attempt: int = 1) -> Job:
        def is_under_way() -> bool:
            now = self.jobs.get(DEFAULT_TENANT, job.id)
            # Until a lost attempt is reaped, its phase still stands in the row.
            return (now.phase, now.attempt) == ("pretending", attempt)

        wait_until(is_under_way, "the job is under way")
        return self.jobs.get(DEFAULT_TENANT, job.id)

    def runs_of(self, job: Job) -> int:
        """How often a child began it: each says so first."""
        events = self.jobs.events(DEFAULT_TENANT, job.id, 0, 10_000)
        return sum(e.data.get("phase") == "pretending" for e in events if e.type == "phase")

    def times_ended(self, job: Job) -> int:
        events = self.jobs.events(DEFAULT_TENANT, job.id, 0, 10_000)
        return sum(e.type == "state" and JobState(e.data["state"]).is_final for e in events)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self.queue.close()
        self.database.close()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def farm() -> Iterator[Farm]:
    # Not tmp_path: a socket's path must stay below 108 bytes.
    with tempfile.TemporaryDirectory(prefix="penjing-", ignore_cleanup_errors=True) as home:
        farm = Farm(Path(home))
        try:
            yield farm
        finally:
            farm.close()
