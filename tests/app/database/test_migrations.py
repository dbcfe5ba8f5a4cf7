"""The migrations lead to the tables, and may be run by many at once."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from app.database.engine import Database
from app.database.migrate import SCRIPTS, SchemaTooNew, upgrade
from app.database.tables import job_events, job_uploads, jobs, metadata, workers
from app.jobs.store import uses

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOME_EVENT = {"seq": 1, "at": NOW, "type": "state", "data": {}}
SOME_JOB = {
    "id": "job_1",
    "name": "",
    "state": "queued",
    "request": {},
    "model_id": "mdl_1",
    "tags": {},
    "progress": 0.0,
    "attempt": 0,
    "fence": 0,
    "cancel_requested": False,
    "version": 1,
    "event_count": 1,
    "created_at": NOW,
    "queued_at": NOW,
    "queue_expires_at": NOW,
}
NEXT_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.alter_column("name", type_=sa.Text())
"""


def test_migrated_schema_is_that_of_the_tables(both_databases: Database) -> None:
    with both_databases.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_upgrade_is_safe_when_many_start_at_once(empty_database: Database) -> None:
    databases = [Database(empty_database.url.render_as_string(False)) for _ in range(4)]
    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(upgrade, databases))
    for database in databases:
        database.close()

    upgrade(empty_database)
    with empty_database.read() as connection:
        assert connection.execute(select(workers)).all() == []


def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(
    empty_database: Database, tmp_path: Path
) -> None:
    upgrade(empty_database)
    with empty_database.write() as connection:
        connection.execute(insert(jobs).values(SOME_JOB))
        connection.execute(insert(job_events).values(job_id="job_1", **SOME_EVENT))

    upgrade(empty_database, with_next_migration(tmp_path))

    with empty_database.read() as connection:
        assert connection.execute(select(job_events.c.job_id)).scalars().all() == ["job_1"]
    with pytest.raises(IntegrityError), empty_database.write() as connection:
        connection.execute(insert(job_events).values(job_id="job_none", **SOME_EVENT))


def test_jobs_of_the_first_schema_still_use_their_uploads(
    empty_database: Database, tmp_path: Path
) -> None:
    upgrade(empty_database, first_schema(tmp_path))
    with empty_database.write() as connection:
        connection.execute(insert(jobs).values(SOME_JOB))
        connection.execute(insert(jobs).values(SOME_JOB | {"id": "job_2", "dataset_id": "dst_1"}))

    upgrade(empty_database)

    with empty_database.read() as connection:
        rows = connection.execute(select(job_uploads.c.job_id, job_uploads.c.upload_id)).all()
        assert sorted(map(tuple, rows)) == [
            ("job_1", "mdl_1"),
            ("job_2", "dst_1"),
            ("job_2", "mdl_1"),
        ]
        assert uses(connection, "dst_1")
        assert not uses(connection, "dst_2")


def test_upgrade_refuses_a_database_of_a_newer_version(
    empty_database: Database, tmp_path: Path
) -> None:
    upgrade(empty_database, with_next_migration(tmp_path))

    with pytest.raises(SchemaTooNew, match="schema 0003, which"):
        upgrade(empty_database)


def first_schema(folder: Path) -> Path:
    """A copy of the migrations with the first one alone."""
    scripts = folder / "first"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__", "0002_*"))
    return scripts


def with_next_migration(folder: Path) -> Path:
    """A copy of the migrations with one more, which alters a table that others refer to."""
    scripts = folder / "migrations"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "0003_next.py").write_text(NEXT_MIGRATION)
    return scripts


def test_write_is_undone_when_the_block_raises(both_databases: Database) -> None:
    with pytest.raises(RuntimeError):
        _write_then_raise(both_databases)

    with both_databases.read() as connection:
        assert connection.execute(select(workers)).all() == []


def _write_then_raise(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(workers).values(name="w", seen_at=datetime.now(UTC)))
        raise RuntimeError


def test_times_come_back_in_utc_with_their_zone(both_databases: Database) -> None:
    given = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=5)))
    with both_databases.write() as connection:
        connection.execute(insert(workers).values(name="w", seen_at=given))

    with both_databases.read() as connection:
        found = connection.execute(select(workers.c.seen_at)).scalar_one()
    assert found == given
    assert found.tzinfo is UTC
