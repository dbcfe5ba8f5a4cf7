"""Connections: which driver, and what processes that write at once see of each other."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.database.engine import Database
from app.database.migrate import upgrade

WRITERS = 4
WRITES = 100
TIMES = [
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
]
# Reads before it writes: a deferred transaction fails here as soon as another one wrote between.
COUNT_UP = """
import sys
from sqlalchemy import text
from app.database.engine import Database

database = Database(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with database.write() as connection:
        count = connection.execute(text("SELECT n FROM counter")).scalar_one()
        connection.execute(text("UPDATE counter SET n = :n"), {"n": count + 1})
"""
START = """
import sys
from app.database.engine import Database
from app.database.migrate import upgrade

print("ready", flush=True)
sys.stdin.read()
upgrade(Database(sys.argv[1]))
"""


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_url_gets_the_installed_driver_when_it_names_none(scheme: str) -> None:
    database = Database(f"{scheme}://penjing@db/penjing")

    assert (database.url.drivername, database.is_sqlite) == ("postgresql+psycopg", False)


def test_postgresql_is_not_waited_for_without_end_when_it_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        plain = "sslmode=disable&gssencmode=disable"
        database = Database(f"postgresql://penjing@127.0.0.1:{address[1]}/penjing?{plain}")
        with ThreadPoolExecutor(max_workers=1) as thread:
            connecting = thread.submit(database.engine.connect)
            with server.accept()[0]:
                found = times_towards(address)
            with pytest.raises(OperationalError):
                connecting.result()

    assert found == [15_000, 5, 5, 2]


def times_towards(address: tuple[str, int]) -> list[int]:
    """As the kernel has them, for this process's one connection to it."""
    held = [int(path.name) for path in Path("/proc/self/fd").iterdir() if path.is_socket()]
    with ExitStack() as opened:
        ends = [opened.enter_context(socket.socket(fileno=os.dup(number))) for number in held]
        [end] = [end for end in ends if leads_to(end, address)]
        return [end.getsockopt(*what) for what in TIMES]


def leads_to(end: socket.socket, address: tuple[str, int]) -> bool:
    try:
        return bool(end.getpeername() == address)
    except OSError:
        return False


def test_sqlite_keeps_a_write_ahead_log_and_its_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'penjing.db'}")

    with database.read() as connection:
        found = [
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    database.close()
    assert found == ["wal", 2, 1]


def test_first_connection_waits_when_another_process_has_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "penjing.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE counter (n INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    database = Database(f"sqlite:///{path}")
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()

    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"

    release.join()
    other.close()
    database.close()


def test_sqlite_never_says_that_it_is_locked_when_many_processes_write(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'penjing.db'}")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE counter (n INTEGER)"))
        connection.execute(text("INSERT INTO counter VALUES (0)"))

    command = [sys.executable, "-c", COUNT_UP, str(database.url), str(WRITES)]
    writers = [subprocess.Popen(command) for _ in range(WRITERS)]

    assert [writer.wait() for writer in writers] == [0] * WRITERS
    with database.read() as connection:
        assert connection.execute(text("SELECT n FROM counter")).scalar_one() == WRITERS * WRITES
    database.close()


def test_reader_is_not_held_up_while_another_connection_writes(both_databases: Database) -> None:
    with both_databases.write() as writer, both_databases.read() as reader:
        writer.execute(text("DELETE FROM workers"))

        assert reader.execute(text("SELECT count(*) FROM workers")).scalar_one() == 0


def test_upgrade_is_safe_when_many_processes_start_on_no_database_at_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'penjing.db'}"
    with ExitStack() as stack:
        starting = [stack.enter_context(about_to_upgrade(url)) for _ in range(4)]
        for process in starting:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        for process in starting:
            assert process.stdin is not None
            process.stdin.close()

        assert [process.wait() for process in starting] == [0] * len(starting)
    database = Database(url)
    upgrade(database)
    database.close()


def about_to_upgrade(url: str) -> "subprocess.Popen[bytes]":
    """A process that has imported everything and waits for the end of its input."""
    command = [sys.executable, "-c", START, url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_new_database_is_for_its_user_alone(tmp_path: Path) -> None:
    """Its log and its index, too, whoever made it: service, worker or command line."""
    database = Database(f"sqlite:///{tmp_path / 'new' / 'penjing.db'}")
    upgrade(database)
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    database.close()
    assert modes["penjing.db"] == 0o600
    assert set(modes.values()) == {0o600}
    assert "penjing.db-wal" in modes


def test_database_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "penjing.db"
    path.touch()
    path.chmod(0o660)
    Database(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o777 == 0o660
