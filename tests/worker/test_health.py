"""A worker's health is what the database has seen of it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.database.engine import Database
from app.database.migrate import upgrade
from app.jobs.presence import Standing, WorkerPresence
from app.settings import Settings
from worker.health import was_seen

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, reap_s=5)


@pytest.fixture
def presence(settings: Settings) -> Iterator[WorkerPresence]:
    with closing(Database(settings.resolved_database_url)) as database:
        upgrade(database)
        yield WorkerPresence(database)


def test_worker_is_well_when_it_was_just_seen(settings: Settings, presence: WorkerPresence) -> None:
    presence.beat("host-a-17-0badf0", NOW, Standing.CONFINED)
    assert was_seen(settings, "host-a", NOW + timedelta(seconds=5))


def test_worker_is_unwell_when_it_fell_silent(settings: Settings, presence: WorkerPresence) -> None:
    presence.beat("host-a-17-0badf0", NOW, Standing.CONFINED)
    assert not was_seen(settings, "host-a", NOW + timedelta(seconds=21))


def test_worker_is_unwell_when_only_another_host_is_seen(
    settings: Settings, presence: WorkerPresence
) -> None:
    presence.beat("host-a-17-0badf0", NOW, Standing.CONFINED)
    assert not was_seen(settings, "host", NOW)


def exit_code(home: Path) -> int:
    command = [sys.executable, "-m", "worker.health"]
    return subprocess.run(command, env={**os.environ, "PENJING_HOME": str(home)}).returncode


def test_command_exits_by_the_health_of_this_host(
    settings: Settings, presence: WorkerPresence
) -> None:
    assert exit_code(settings.home) == 1
    presence.beat(f"{socket.gethostname()}-17-0badf0", datetime.now(UTC), Standing.CONFINED)
    assert exit_code(settings.home) == 0
