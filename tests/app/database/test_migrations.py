"""The migrations lead to the tables, and may be run by many at once."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import column, insert, select
from sqlalchemy import table as plain_table
from sqlalchemy.exc import IntegrityError

from app.accounts.principal import DEFAULT_TENANT
from app.database.engine import Database
from app.database.migrate import SCRIPTS, SchemaTooNew, upgrade
from app.database.tables import (
    idempotency_keys,
    job_events,
    job_uploads,
    jobs,
    metadata,
    tenants,
    uploads,
    workers,
)
from app.jobs.sizes import EVENT_BYTES, bytes_of_new
from app.jobs.store import uses
from app.uploads.store import UPLOAD_BYTES

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
SOME_UPLOAD = {
    "id": "mdl_1",
    "kind": "model",
    "name": "net.keras",
    "format": "keras",
    "size_bytes": 1,
    "sha256": "0" * 64,
    "status": "ready",
    "options": {},
    "created_at": NOW,
}
SOME_KEY = {"key": "k", "digest": "d", "job_id": "job_1", "created_at": NOW}
KEYS_BEFORE_TENANTS = plain_table(
    "idempotency_keys",
    *(column(name, idempotency_keys.c[name].type) for name in SOME_KEY),
)
NEXT_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{newest}"


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
        connection.execute(insert(jobs).values(SOME_JOB | {"tenant_id": DEFAULT_TENANT}))
        connection.execute(insert(job_events).values(job_id="job_1", **SOME_EVENT))

    upgrade(empty_database, with_next_migration(tmp_path))

    with empty_database.read() as connection:
        assert connection.execute(select(job_events.c.job_id)).scalars().all() == ["job_1"]
    with pytest.raises(IntegrityError), empty_database.write() as connection:
        connection.execute(insert(job_events).values(job_id="job_none", **SOME_EVENT))


def test_jobs_of_the_first_schema_still_use_their_uploads(
    empty_database: Database, tmp_path: Path
) -> None:
    upgrade(empty_database, schema_before("0002", tmp_path))
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
        assert uses(connection, DEFAULT_TENANT, "dst_1")
        assert not uses(connection, DEFAULT_TENANT, "dst_2")


def test_what_was_there_before_tenants_belongs_to_the_default_one(
    empty_database: Database, tmp_path: Path
) -> None:
    upgrade(empty_database, schema_before("0003", tmp_path))
    with empty_database.write() as connection:
        connection.execute(insert(uploads).values(SOME_UPLOAD))
        connection.execute(insert(jobs).values(SOME_JOB))
        connection.execute(insert(job_events).values(job_id="job_1", **SOME_EVENT))
        connection.execute(insert(KEYS_BEFORE_TENANTS).values(SOME_KEY))

    upgrade(empty_database)

    with empty_database.write() as connection:
        for table in (uploads, jobs, idempotency_keys):
            assert connection.execute(select(table.c.tenant_id)).all() == [(DEFAULT_TENANT,)]
        assert connection.execute(select(job_events.c.job_id)).all() == [("job_1",)]
        connection.execute(insert(tenants).values(id="ten_2", name="two", created_at=NOW))
        # The same key may be another tenant's, too.
        connection.execute(insert(idempotency_keys).values(SOME_KEY | {"tenant_id": "ten_2"}))
    for table, row in ((uploads, SOME_UPLOAD), (jobs, SOME_JOB)):
        with pytest.raises(IntegrityError), empty_database.write() as connection:
            connection.execute(insert(table).values(row | {"id": "new", "tenant_id": "ten_none"}))
        with pytest.raises(IntegrityError), empty_database.write() as connection:
            connection.execute(insert(table).values(row | {"id": "new"}))


def test_rows_that_were_there_count_as_those_that_come(
    empty_database: Database, tmp_path: Path
) -> None:
    upgrade(empty_database, schema_before("0008", tmp_path))
    theirs = {"tenant_id": DEFAULT_TENANT}
    ended = {"id": "job_2", "finished_at": NOW, "report": {"a": 1}, "error": {"b": 1}}
    with empty_database.write() as connection:
        connection.execute(insert(uploads).values(SOME_UPLOAD | theirs | {"inspection": {"c": 1}}))
        for job in (SOME_JOB | theirs, SOME_JOB | theirs | ended):
            connection.execute(insert(jobs).values(job))
            connection.execute(insert(job_events).values(job_id=job["id"], **SOME_EVENT))

    upgrade(empty_database)

    with empty_database.read() as connection:
        of_upload = connection.execute(select(uploads.c.row_bytes)).scalar_one()
        rows = connection.execute(select(jobs.c.row_bytes).order_by(jobs.c.id)).scalars().all()
    assert of_upload == UPLOAD_BYTES + len('{"c": 1}')
    new = bytes_of_new({})
    assert rows == [new, new + EVENT_BYTES + len("{}") + len('{"a": 1}{"b": 1}')]


def test_upgrade_refuses_a_database_of_a_newer_version(
    empty_database: Database, tmp_path: Path
) -> None:
    upgrade(empty_database, with_next_migration(tmp_path))

    with pytest.raises(SchemaTooNew, match="schema next, which"):
        upgrade(empty_database)


def schema_before(revision: str, folder: Path) -> Path:
    """A copy of the migrations that come before this one."""
    scripts = folder / "earlier"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    for script in (scripts / "versions").iterdir():
        if script.name >= revision:
            script.unlink()
    return scripts


def with_next_migration(folder: Path) -> Path:
    """A copy of the migrations with one more, which alters a table that others refer to."""
    scripts = folder / "migrations"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    newest = ScriptDirectory(str(SCRIPTS)).get_current_head()
    (scripts / "versions" / "next.py").write_text(NEXT_MIGRATION.format(newest=newest))
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
