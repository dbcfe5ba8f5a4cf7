"""Fixtures of the front end: an empty, migrated database, once SQLite and once PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.database.engine import Database
from app.database.migrate import upgrade
from app.ids import new_id
from tests.postgres import running_postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'penjing.db'}")
        yield database
        database.close()
        return
    server = request.getfixturevalue("postgres_url")
    name = new_id("db")
    _execute(server, f"CREATE DATABASE {name}")
    database = Database(make_url(server).set(database=name).render_as_string())
    yield database
    database.close()
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def both_databases(empty_database: Database) -> Database:
    """A migrated database; the test runs on each kind."""
    upgrade(empty_database)
    return empty_database


def _execute(server: str, statement: str) -> None:
    database = Database(server)
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))
    database.close()
