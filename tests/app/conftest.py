"""Fixtures of the front end: an empty, migrated database, once SQLite and once PostgreSQL."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, make_url, text

from app.accounts.principal import DEFAULT_TENANT, DEFAULT_TENANT_NAME
from app.database.engine import Database
from app.database.migrate import upgrade
from app.database.tables import metadata, tenants, uploads
from app.ids import new_id
from tests.postgres import running_postgres

BOTH = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> Iterator[Database]:
    with new_database(postgres_url) as database:
        upgrade(database)
        yield database


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "penjing.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture(params=BOTH)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'penjing.db'}")
        yield database
        database.close()
        return
    with new_database(request.getfixturevalue("postgres_url")) as database:
        yield database


@pytest.fixture(params=BOTH)
def both_databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database without rows; the test runs on each kind."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("migrated_sqlite")
        copy = Path(shutil.copy(template, tmp_path))
        database = Database(f"sqlite:///{copy}")
        yield database
        database.close()
        return
    shared: Database = request.getfixturevalue("migrated_postgres")
    yield shared
    with shared.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    add_default_tenant(shared)


@contextmanager
def new_database(server: str) -> Iterator[Database]:
    name = new_id("db")
    _execute(server, f"CREATE DATABASE {name}")
    database = Database(make_url(server).set(database=name).render_as_string())
    try:
        yield database
    finally:
        database.close()
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: str, statement: str) -> None:
    with (
        closing(Database(server)) as database,
        database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        connection.execute(text(statement))


def add_default_tenant(database: Database) -> None:
    """As the migrations leave a new database."""
    add_tenant(database, DEFAULT_TENANT, DEFAULT_TENANT_NAME)


def add_tenant(database: Database, tenant_id: str, name: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with database.write() as connection:
        connection.execute(insert(tenants).values(id=tenant_id, name=name, created_at=now))


def add_uploads(database: Database, tenant_id: str = DEFAULT_TENANT, /, **kinds: str) -> None:
    """Rows of ready uploads without bytes: id and kind of each."""
    rows = [
        {
            "id": upload_id,
            "tenant_id": tenant_id,
            "kind": kind,
            "name": upload_id,
            "format": "keras",
            "size_bytes": 1,
            "sha256": "0" * 64,
            "status": "ready",
            "options": {},
            "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for upload_id, kind in kinds.items()
    ]
    with database.write() as connection:
        connection.execute(insert(uploads), rows)
