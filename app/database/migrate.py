"""Brings a database to the newest schema; safe when several processes start at once."""

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
    with _alone(database) as connection:
        if _is_current(connection, ScriptDirectory.from_config(config)):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _is_current(connection: Connection, scripts: ScriptDirectory) -> bool:
    current = set(MigrationContext.configure(connection).get_current_heads())
    if unknown := current - {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(
            f"the database has the schema {', '.join(sorted(unknown))}, "
            f"which this version does not know; its own is {scripts.get_current_head()}",
            hint="Start the newer version again, or restore a backup from before it ran.",
        )
    return current == set(scripts.get_heads())


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """One transaction to look and to change in; what else wants to upgrade waits for its end."""
    with database.engine.connect() as connection:
        if database.is_sqlite:
            with _foreign_keys_off(connection), connection.execution_options(is_write=True).begin():
                yield connection
            return
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            yield connection


@contextmanager
def _foreign_keys_off(connection: Connection) -> Iterator[None]:
    """To alter a table of SQLite is to rebuild it; dropping the old one must not cascade.

    The pragma has no effect inside a transaction, so it goes by the driver's own connection.
    """
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")
