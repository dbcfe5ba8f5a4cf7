"""Two processes at the same moment, on both databases: the first holds its transaction open."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, text

from app.database.engine import Database

T = TypeVar("T")

LIMIT_S = 60
WAITING_FOR_A_LOCK = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def meanwhile(
    database: Database, first: Callable[[Connection], object], move: Callable[[], T]
) -> T:
    """Run `move` in a thread while the transaction of `first` is open, then commit that.

    `move` meets its locks and goes on when they are gone; where it meets none, it ends before.
    """
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            first(connection)
            moving = pool.submit(move)
            _wait_until_blocked(database, moving)
        return moving.result(LIMIT_S)


def _wait_until_blocked(database: Database, moving: "Future[T]") -> None:
    # On SQLite there is nothing to wait for: a second writer starts after the first, whenever.
    end = time.monotonic() + LIMIT_S
    while not database.is_sqlite and not moving.done():
        with database.read() as connection:
            if connection.execute(WAITING_FOR_A_LOCK).scalar_one():
                return
        assert time.monotonic() < end, "the second mover neither waits nor ends"
