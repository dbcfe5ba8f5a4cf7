"""Who changed what, and who was refused: rows that are added and read, and dropped when old.

An entry names things by their ids; it holds no body, no name that a caller chose, and no secret.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, delete, insert, select

from app.database.engine import Database
from app.database.tables import audit_log
from app.errors import Malformed

MOST_SEQ = 2**63 - 1


@dataclass(frozen=True)
class Entry:
    """One thing that was done or refused.

    Args:
        tenant_id: null where nobody was recognized.
        action: `noun.verb`.
        status: what it was answered with, as HTTP has it.
        address: where the request came from; null for commands on the host itself.
    """

    action: str
    status: int
    tenant_id: str | None = None
    key_id: str | None = None
    object_id: str | None = None
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class AuditRecord:
    """An entry as it was written."""

    seq: int
    at: datetime
    entry: Entry


@dataclass(frozen=True)
class AuditPage:
    items: list[AuditRecord]
    next_cursor: str | None


@dataclass(frozen=True)
class AuditLog:
    """The log of all tenants; each reads its own."""

    database: Database
    clock: Callable[[], datetime]

    def add(self, entry: Entry) -> None:
        with self.database.write() as connection:
            add_entry(connection, entry, self.clock())

    def page(self, tenant_id: str, limit: int, cursor: str | None) -> AuditPage:
        """Newest first. A cursor is the last number of the page before.

        Raises: Malformed for a cursor that is not one of ours.
        """
        theirs = select(audit_log).where(audit_log.c.tenant_id == tenant_id)
        if cursor is not None:
            theirs = theirs.where(audit_log.c.seq < _seq_of(cursor))
        query = theirs.order_by(audit_log.c.seq.desc()).limit(limit + 1)
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        items = [_record_of(row) for row in rows[:limit]]
        return AuditPage(items, str(items[-1].seq) if len(rows) > limit else None)

    def latest(self, limit: int, tenant_ids: Collection[str] | None = None) -> list[AuditRecord]:
        """Newest first, of these tenants or of everybody: for who operates the service."""
        query = select(audit_log).order_by(audit_log.c.seq.desc()).limit(limit)
        if tenant_ids is not None:
            query = query.where(audit_log.c.tenant_id.in_(tenant_ids))
        with self.database.read() as connection:
            return [_record_of(row) for row in connection.execute(query).mappings()]

    def forget(self, days: int) -> int:
        """Drop what is older. Returns: how many."""
        before = self.clock() - timedelta(days=days)
        with self.database.write() as connection:
            return connection.execute(delete(audit_log).where(audit_log.c.at < before)).rowcount


def add_entry(connection: Connection, entry: Entry, now: datetime) -> None:
    """In the transaction of what it tells of, where there is one."""
    connection.execute(insert(audit_log).values(at=now, **vars(entry)))


def _record_of(row: RowMapping) -> AuditRecord:
    entry = Entry(**{field.name: row[field.name] for field in fields(Entry)})
    return AuditRecord(row["seq"], row["at"], entry)


def _seq_of(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal()) or int(cursor[:20]) > MOST_SEQ:
        raise Malformed(
            "this cursor is not one that a list gave out", hint="Start again without a cursor."
        )
    return int(cursor)
