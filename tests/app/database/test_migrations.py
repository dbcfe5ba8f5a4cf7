"""The migrations lead to the tables, and may be run by many at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select

from app.database.engine import Database
from app.database.migrate import upgrade
from app.database.tables import metadata, workers


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
