"""A failing database, told in the words of the service."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import OperationalError

from app.database.engine import Database
from app.database.failures import known_failure
from app.database.migrate import upgrade
from app.database.tables import workers
from app.errors import StorageFull, Unavailable


def test_full_disk_is_told_apart(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'penjing.db'}")
    upgrade(database)
    rows = [{"name": f"{i:0255}", "seen_at": datetime.now(UTC)} for i in range(1000)]
    with database.write() as connection:
        # The file may not grow: what SQLite says then is what it says on a full disk.
        connection.execute(text("PRAGMA max_page_count = 1"))
        with pytest.raises(OperationalError) as refused:
            connection.execute(insert(workers), rows)
    database.close()

    assert isinstance(known_failure(refused.value), StorageFull)


def test_anything_else_may_pass_and_is_not_quoted() -> None:
    lost = OperationalError("SELECT secret", {}, Exception("connection to 10.0.0.1 lost"))

    known = known_failure(lost)

    assert isinstance(known, Unavailable)
    assert known.retryable
    assert "10.0.0.1" not in known.detail
