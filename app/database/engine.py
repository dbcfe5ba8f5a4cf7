"""The connection to SQLite or PostgreSQL: short transactions that read, or write."""

import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, make_url
from sqlalchemy.engine import URL, Engine

BUSY_TIMEOUT_S = 30
PRIVATE = 0o600
SWITCH_RETRY_S = 0.01
POOL_SIZE = 10
# A server that is gone without a word, as behind a cable that was pulled, is given up after 15 s:
# by what is sent to it, and where there is nothing to send, by asking.
REACHED_WITHIN = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


class Database:
    """One database for one process. `write()` sees what it reads unchanged until it commits."""

    def __init__(self, url: str) -> None:
        self.url = _with_driver(make_url(url))
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)
        self._writer = self.engine.execution_options(is_write=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction; rolled back where the block raises."""
        with self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def json_text(value: object) -> str:
    """JSON that every reader takes: NaN and infinities, which it does not know, become null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def json_bytes(*values: object) -> int:
    """What they take where they are stored, null apart: JSON is ASCII, its length is its size."""
    return sum(len(json_text(value)) for value in values if value is not None)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_driver(url: URL) -> URL:
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url,
        pool_size=POOL_SIZE,
        pool_pre_ping=True,
        json_serializer=json_text,
        hide_parameters=True,  # in errors: they go to the log
        # What the stores' conditional statements count on, whatever the server's default is.
        isolation_level="READ COMMITTED",
        connect_args=REACHED_WITHIN,
    )


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        _make_private(Path(url.database))
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        json_serializer=json_text,
        hide_parameters=True,  # in errors: they go to the log
        connect_args={"timeout": BUSY_TIMEOUT_S},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_private(path: Path) -> None:
    """A new file is for this user alone, and so is what SQLite puts beside it.

    One that is there is taken as it is: who opened it to others may have had a reason.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # What cannot be made here fails where it is opened, in SQLite's words.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE))


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # None: sqlite3 opens no transaction by itself, `_begin_sqlite` does.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    _use_write_ahead_log(connection)
    # NORMAL would lose the last commits at a power cut, and with them jobs that were accepted.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # The switch, made once in a file's life, needs the file for itself and ignores busy_timeout:
    # of processes that start together on a new file, all but one would fail.
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(SWITCH_RETRY_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns into a write fails at once when another one wrote since
    # its first read; taking the write lock at the start waits instead.
    is_write = connection.get_execution_options().get("is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
