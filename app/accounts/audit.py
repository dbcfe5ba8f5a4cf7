"""Who changed what, and who was refused: rows that are added and read, and dropped when old.

An entry names things by their ids; it holds no body, no name and no secret. Of what a caller wrote
it holds one thing: the id that it gave its request, in 128 letters, digits and `._:-` at most.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, ScalarSelect, delete, insert, select

from app.database.cursors import id_cursor
from app.database.engine import Database
from app.database.tables import audit_log
from app.ids import new_id


@dataclass(frozen=True)
class Entry:
    """One thing that was done or refused.

    Args:
        tenant_id: null where nobody was recognized.
        action: `noun.verb`.
        status: as HTTP has it: of a change that was made, what is answered for it; of a refusal or
            a failure, what was answered.
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

    id: str
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
        """Newest first. A cursor is the last id of the page before.

        The order is that of `seq`, a number which is for nobody to see: it counts all tenants.

        Raises: Malformed for a cursor that is not one of ours.
        """
        theirs = select(audit_log).where(audit_log.c.tenant_id == tenant_id)
        if cursor is not None:
            theirs = theirs.where(audit_log.c.seq < _place_of(tenant_id, cursor))
        query = theirs.order_by(audit_log.c.seq.desc()).limit(limit + 1)
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        items = [_record_of(row) for row in rows[:limit]]
        return AuditPage(items, items[-1].id if len(rows) > limit else None)

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
    """In the transaction of what it tells of; a refusal has none."""
    connection.execute(insert(audit_log).values(id=new_id("aud"), at=now, **vars(entry)))


def _record_of(row: RowMapping) -> AuditRecord:
    entry = Entry(**{field.name: row[field.name] for field in fields(Entry)})
    return AuditRecord(row["id"], row["at"], entry)


def _place_of(tenant_id: str, cursor: str) -> ScalarSelect[int]:
    """Null, before which there is nothing, for one that is not of this tenant or was forgotten."""
    last = audit_log.c.id == id_cursor(cursor, "aud")
    theirs = (audit_log.c.tenant_id == tenant_id) & last
    return select(audit_log.c.seq).where(theirs).scalar_subquery()
