"""Brings a database to the newest schema; safe when several processes start at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.database.engine import Database

SCRIPTS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x70656E6A  # "penj"


def upgrade(database: Database) -> None:
    """Apply what is missing. One process does it, the others wait and find it done."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with _alone(database), database.engine.connect() as connection:
        if _is_current(connection, config):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _is_current(connection: Connection, config: Config) -> bool:
    context = MigrationContext.configure(connection)
    current = context.get_current_heads()
    connection.rollback()
    return set(current) == set(ScriptDirectory.from_config(config).get_heads())


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
