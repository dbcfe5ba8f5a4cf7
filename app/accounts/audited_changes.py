"""Changes that somebody makes: each is written down in its own transaction, by a key that is good.

So the audit log and what it tells of are never apart: a process that is killed leaves both or
neither, and a change that cannot be written down is not made.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, or_, select

from app.accounts.audit import Entry, add_entry
from app.accounts.keys import no_longer_good
from app.database.tables import api_keys


@dataclass(frozen=True)
class AuditedChange:
    """A change that is about to be made: whose things it changes, and what the log will say of it.

    Args:
        action: `noun.verb`.
        status: what it is answered with once it is made, as HTTP has it.
        key_id: null where no key was asked for, and for commands on the host itself.
    """

    tenant_id: str
    action: str
    status: int
    key_id: str | None = None
    address: str | None = None
    request_id: str | None = None


def record_change(
    connection: Connection, change: AuditedChange, object_id: str, now: datetime
) -> None:
    """The last statement of the transaction that makes the change.

    A revocation of the key waits for the end of it, and nothing of that key ends after it.

    Raises: Unauthenticated where the key is not good any more; the change goes with it.
    """
    if change.key_id is not None:
        key = select(api_keys.c.id).where(api_keys.c.id == change.key_id, is_good(now))
        if connection.execute(key.with_for_update(read=True)).one_or_none() is None:
            raise no_longer_good()
    add_entry(connection, Entry(object_id=object_id, **vars(change)), now)


def is_good(now: datetime) -> ColumnElement[bool]:
    """Of a row of `api_keys`: that it would let somebody in, now."""
    expires_at = api_keys.c.expires_at
    return api_keys.c.revoked_at.is_(None) & or_(expires_at.is_(None), expires_at > now)
