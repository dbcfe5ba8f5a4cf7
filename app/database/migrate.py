"""Brings a database to the newest schema; safe when several processes start at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.database.engine import Database
from app.errors import PenjingError

SCRIPTS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x70656E6A  # "penj"


class SchemaTooNew(PenjingError):
    code = "schema_too_new"
    title = "The database belongs to a newer Penjing"


def upgrade(database: Database, scripts: Path = SCRIPTS) -> None:
    """Apply what is missing. One process does it, the others wait and find it done.

    Raises: SchemaTooNew.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with _alone(database), _connected(database) as connection:
        if _is_current(connection, ScriptDirectory.from_config(config)):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _is_current(connection: Connection, scripts: ScriptDirectory) -> bool:
    current = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    if unknown := current - {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(
            f"the database has the schema {', '.join(sorted(unknown))}, "
            f"which this version does not know; its own is {scripts.get_current_head()}",
            hint="Start the newer version again, or restore a backup from before it ran.",
        )
    return current == set(scripts.get_heads())


@contextmanager
def _connected(database: Database) -> Iterator[Connection]:
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            yield connection
            return
        # To alter a table of SQLite is to rebuild it, and dropping the old one would, with foreign
        # keys on, delete every row that refers to it. Inside a transaction this has no effect.
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA foreign_keys = OFF")
        try:
            yield connection.execution_options(is_write=True)
        finally:
            connection.rollback()
            driver.execute("PRAGMA foreign_keys = ON")


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    if not database.is_sqlite:
        with database.engine.connect() as connection:
            # Held by the session until it is unlocked or the connection is gone.
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.commit()
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
                connection.commit()
        return
    if not database.url.database:
        yield
        return
    with Path(f"{database.url.database}.migrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
