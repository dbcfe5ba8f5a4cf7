"""Tenants and keys as database rows."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.accounts.audited_changes import AuditedChange, is_good, record_change
from app.accounts.keys import ApiKey
from app.accounts.principal import Scope
from app.database.cursors import id_cursor
from app.database.engine import Database
from app.database.tables import api_keys, tenants
from app.errors import Conflict, NotFound
from app.ids import new_id
from app.settings import MOST_KEYS

# Precise enough to see that a key is in use, rare enough to cost nothing.
USE_IS_NOTED_EVERY = timedelta(minutes=1)


class TooManyKeys(Conflict):
    code = "too_many_keys"
    title = "The tenant has as many keys as it may"


@dataclass(frozen=True)
class Tenant:
    """Who owns uploads, jobs and keys. What it may have is the business of `quotas`."""

    id: str
    name: str
    created_at: datetime


TENANT_COLUMNS = tuple(tenants.c[field.name] for field in fields(Tenant))


@dataclass(frozen=True)
class KeyPage:
    items: list[ApiKey]
    next_cursor: str | None


class AccountStore:
    """One row a tenant, one row a key. A key of another tenant is found by no query but its own."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def tenant(self, tenant_id: str) -> Tenant:
        """Raises: NotFound."""
        found = self._tenant(tenants.c.id == tenant_id)
        if found is None:
            raise NotFound(f"there is no tenant {tenant_id!r}")
        return found

    def tenant_named(self, name: str) -> Tenant | None:
        return self._tenant(tenants.c.name == name)

    def tenant_names(self) -> dict[str, str]:
        """The name of every tenant, by its id."""
        with self.database.read() as connection:
            rows = connection.execute(select(tenants.c.id, tenants.c.name))
            return {row.id: row.name for row in rows}

    def add_tenant(self, name: str, now: datetime) -> Tenant:
        """The tenant of this name, made now unless it is there."""
        tenant = Tenant(new_id("ten"), name, now)
        change = AuditedChange(tenant.id, "tenant.create", 201)
        try:
            with self.database.write() as connection:
                connection.execute(insert(tenants).values(vars(tenant)))
                record_change(connection, change, tenant.id, now)
        except IntegrityError:
            # Two made it at once; there is one name, and so one tenant.
            if there := self.tenant_named(name):
                return there
            raise
        return tenant

    def add(self, change: AuditedChange, key: ApiKey) -> None:
        with self.database.write() as connection:
            _insert(connection, key)
            record_change(connection, change, key.id, key.created_at)

    def add_bounded(self, change: AuditedChange, key: ApiKey) -> ApiKey:
        """Add a key that a tenant makes for itself.

        Returns: it, ending no later than the key that makes it.
        Raises: Unauthenticated, TooManyKeys.
        """
        with self.database.write() as connection:
            _lock_keys(connection, change.tenant_id)
            key = _ending_with(connection, change.key_id, key)
            _require_room(connection, key)
            _insert(connection, key)
            record_change(connection, change, key.id, key.created_at)
        return key

    def get(self, tenant_id: str, key_id: str) -> ApiKey:
        """Raises: NotFound."""
        found = self._key(_owned(tenant_id, key_id))
        if found is None:
            raise NotFound(f"there is no key {key_id!r}")
        return found

    def page(self, tenant_id: str, limit: int, cursor: str | None) -> KeyPage:
        """Newest first. A cursor is the last id of the page before: ids sort by age.

        Raises: Malformed for a cursor that is not one of ours.
        """
        query = select(api_keys).where(api_keys.c.tenant_id == tenant_id)
        if cursor is not None:
            query = query.where(api_keys.c.id < id_cursor(cursor, "key"))
        with self.database.read() as connection:
            ordered = query.order_by(api_keys.c.id.desc()).limit(limit + 1)
            rows = connection.execute(ordered).mappings().all()
        items = [_key_of(row) for row in rows[:limit]]
        return KeyPage(items, items[-1].id if len(rows) > limit else None)

    def revoke(self, change: AuditedChange, key_id: str, clock: Callable[[], datetime]) -> ApiKey:
        """From now on it is no key any more, nor is what it made; a revoked one stays as it is.

        Raises: NotFound, Unauthenticated.
        """
        with self.database.write() as connection:
            # Of two admin keys that revoke each other at the same moment, one is left.
            _lock_keys(connection, change.tenant_id)
            # Not before: what others did while this waited is not to lie behind it.
            now = clock()
            for revoked_id in _revoked_with(connection, change, key_id, now):
                record_change(connection, change, revoked_id, now)
        return self.get(change.tenant_id, key_id)

    def by_prefix(self, prefix: str) -> ApiKey | None:
        """Whosever it is: the key that is given says who asks."""
        return self._key(api_keys.c.prefix == prefix)

    def by_id(self, key_id: str) -> ApiKey | None:
        """Whosever it is: for who operates the service, on its own database."""
        return self._key(api_keys.c.id == key_id)

    def by_ids(self, key_ids: Collection[str]) -> list[ApiKey]:
        """Whosever they are: for keys that were given, and let somebody in."""
        with self.database.read() as connection:
            rows = connection.execute(select(api_keys).where(api_keys.c.id.in_(key_ids)))
            return [_key_of(row) for row in rows.mappings()]

    def all_keys(self) -> list[ApiKey]:
        """Of all tenants, newest first: for who operates the service, on its own database."""
        with self.database.read() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.id.desc()))
            return [_key_of(row) for row in rows.mappings()]

    def note_use(self, key: ApiKey, now: datetime) -> None:
        """Write down when a key was used, at most once a minute."""
        before, last = now - USE_IS_NOTED_EVERY, api_keys.c.last_used_at
        if key.last_used_at is not None and key.last_used_at > before:
            return
        is_due = (api_keys.c.id == key.id) & or_(last.is_(None), last <= before)
        with self.database.write() as connection:
            connection.execute(update(api_keys).where(is_due).values(last_used_at=now))

    def _tenant(self, which: ColumnElement[bool]) -> Tenant | None:
        with self.database.read() as connection:
            row = connection.execute(select(*TENANT_COLUMNS).where(which)).mappings().one_or_none()
        return Tenant(**row) if row else None

    def _key(self, which: ColumnElement[bool]) -> ApiKey | None:
        with self.database.read() as connection:
            row = connection.execute(select(api_keys).where(which)).mappings().one_or_none()
        return _key_of(row) if row else None


def _insert(connection: Connection, key: ApiKey) -> None:
    connection.execute(insert(api_keys).values({**vars(key), "scopes": sorted(key.scopes)}))


def _lock_keys(connection: Connection, tenant_id: str) -> None:
    """Who makes or revokes keys of this tenant waits for the end of this transaction."""
    tenant = select(tenants.c.id).where(tenants.c.id == tenant_id)
    connection.execute(tenant.with_for_update())


def _revoked_with(
    connection: Connection, change: AuditedChange, key_id: str, now: datetime
) -> Sequence[str]:
    """The ids of those that were still keys: this one, if it was, and what came of it.

    Not the one that asks, nor what came of that.
    """
    is_valid = _owned(change.tenant_id, key_id) & api_keys.c.revoked_at.is_(None)
    gone = select(api_keys.c.id).where(is_valid).cte("gone", recursive=True)
    is_made = (api_keys.c.made_by == gone.c.id) & api_keys.c.id.is_distinct_from(change.key_id)
    gone = gone.union_all(select(api_keys.c.id).where(is_made))
    are_left = api_keys.c.id.in_(select(gone.c.id)) & api_keys.c.revoked_at.is_(None)
    revoked = update(api_keys).where(are_left).values(revoked_at=now).returning(api_keys.c.id)
    return connection.execute(revoked).scalars().all()


def _ending_with(connection: Connection, maker_id: str | None, key: ApiKey) -> ApiKey:
    """The key, good for no longer than the one that makes it."""
    maker = select(api_keys.c.expires_at).where(api_keys.c.id == maker_id)
    expires_at = connection.execute(maker).scalar()
    if expires_at is None:
        return key
    return replace(key, expires_at=min(expires_at, key.expires_at or expires_at))


def _require_room(connection: Connection, key: ApiKey) -> None:
    """Raises: TooManyKeys."""
    theirs = api_keys.c.tenant_id == key.tenant_id
    query = select(func.count()).where(theirs, is_good(key.created_at))
    if connection.execute(query).scalar_one() >= MOST_KEYS:
        raise TooManyKeys(
            f"{MOST_KEYS} keys of the tenant are good, which is all it may have",
            hint="Revoke those that nobody uses any more; GET /v1/api-keys says when each was "
            "last used.",
        )


def _owned(tenant_id: str, key_id: str) -> ColumnElement[bool]:
    return (api_keys.c.tenant_id == tenant_id) & (api_keys.c.id == key_id)


def _key_of(row: RowMapping) -> ApiKey:
    return ApiKey(**{**row, "scopes": frozenset(map(Scope, row["scopes"]))})
