"""The audit log as rows, on both databases."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect

from app.accounts.audit import AuditLog, Entry, add_entry
from app.database.engine import Database
from app.errors import Malformed
from tests.fakes import FakeClock

MINE, OTHERS = "ten_mine", "ten_others"
START = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def log(both_databases: Database, clock: FakeClock) -> AuditLog:
    return AuditLog(both_databases, clock)


def entry(number: int, tenant_id: str | None = MINE) -> Entry:
    return Entry("job.submit", 202, tenant_id, "key_1", f"job_{number}", "::1", "req_1")


def test_entry_comes_back_as_it_was_written(log: AuditLog) -> None:
    log.add(entry(1))
    [record] = log.page(MINE, 10, None).items
    assert (record.at, record.entry) == (START, entry(1))


def test_pages_are_of_one_tenant_and_the_newest_first(log: AuditLog) -> None:
    for number in range(5):
        log.add(entry(number))
        log.add(entry(number, OTHERS))
        log.add(entry(number, None))
    first = log.page(MINE, 3, None)
    second = log.page(MINE, 3, first.next_cursor)
    seen = [record.entry.object_id for page in (first, second) for record in page.items]
    assert seen == [f"job_{number}" for number in (4, 3, 2, 1, 0)]
    assert second.next_cursor is None


def test_operator_reads_of_everybody(log: AuditLog) -> None:
    for tenant_id in (MINE, OTHERS, None):
        log.add(entry(1, tenant_id))
    assert [record.entry.tenant_id for record in log.latest(10)] == [None, OTHERS, MINE]
    assert [record.entry.tenant_id for record in log.latest(10, [OTHERS])] == [OTHERS]
    assert len(log.latest(2)) == 2


def test_cursor_of_others_leads_nowhere(log: AuditLog) -> None:
    log.add(entry(1))
    log.add(entry(2, OTHERS))
    [theirs] = log.page(OTHERS, 1, None).items
    assert log.page(MINE, 10, theirs.id).items == []
    assert log.page(MINE, 10, f"aud_{'0' * 26}").items == []
    with pytest.raises(Malformed):
        log.page(MINE, 10, "1")


def test_only_what_is_old_is_forgotten(log: AuditLog, clock: FakeClock) -> None:
    log.add(entry(1))
    clock.advance(timedelta(days=30).total_seconds())
    log.add(entry(2))
    assert log.forget(days=30) == 0
    clock.advance(1)
    assert log.forget(days=30) == 1
    assert [record.entry.object_id for record in log.latest(10)] == ["job_2"]


def test_entry_is_gone_with_the_change_that_failed(log: AuditLog, both_databases: Database) -> None:
    with suppress(KeyError), both_databases.write() as connection:
        add_entry(connection, entry(1), START)
        raise KeyError
    assert log.latest(10) == []


def test_rows_have_no_place_for_a_secret(both_databases: Database) -> None:
    columns = {column["name"] for column in inspect(both_databases.engine).get_columns("audit_log")}
    assert columns == {
        *("seq", "id", "at", "tenant_id", "key_id", "action"),
        *("object_id", "status", "address", "request_id"),
    }
