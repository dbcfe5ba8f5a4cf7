"""The use cases of accounts: make a key, say who holds one, revoke it."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from app.accounts.audited_changes import AuditedChange
from app.accounts.keys import (
    NOBODYS_DIGEST,
    ApiKey,
    KeyState,
    SpentKey,
    Unauthenticated,
    digest_of,
    is_text_of,
    new_text,
    no_longer_good,
    prefix_of,
)
from app.accounts.principal import Principal, Scope
from app.accounts.store import AccountStore, KeyPage, Tenant
from app.errors import Conflict
from app.ids import new_id

log = logging.getLogger(__name__)


class OwnKey(Conflict):
    code = "own_key"
    title = "A key cannot revoke itself"


@dataclass(frozen=True)
class KeyWish:
    """What a new key is to be. `lifetime` null = until it is revoked."""

    name: str
    scopes: frozenset[Scope]
    lifetime: timedelta | None


@dataclass(frozen=True)
class AccountService:
    """Keys are looked up at every request: a revoked one opens nothing any more, anywhere."""

    store: AccountStore
    clock: Callable[[], datetime]

    def authenticate(self, text: str) -> Principal:
        """Who holds this key.

        A text that is no key, a prefix that is not there and a wrong secret are one case: the same
        query, one comparison, the same answer. Only who knows the whole key is told that it has
        expired or was revoked.

        Raises: Unauthenticated, SpentKey.
        """
        key = self.store.by_prefix(prefix_of(text))
        is_right = is_text_of(key.digest if key else NOBODYS_DIGEST, text)
        if key is None or not is_right:
            raise Unauthenticated(
                "this key is not known here",
                hint="Is it whole, and of this service? `penjing keys create` makes a new one.",
            )
        now = self.clock()
        state = key.state(now)
        if state is not KeyState.ACTIVE:
            raise SpentKey(key, state)
        self._note_use(key, now)
        return Principal(key.tenant_id, key.id, key.scopes)

    def good_ones(self, key_ids: Collection[str]) -> set[str]:
        """Those of these keys, by their ids, that would let somebody in again, now."""
        keys = self.store.by_ids(key_ids) if key_ids else []
        now = self.clock()
        return {key.id for key in keys if key.state(now) is KeyState.ACTIVE}

    def require_still_good(self, principal: Principal) -> None:
        """The key that let somebody in would do so again, now. Raises: Unauthenticated."""
        if principal.key_id is None:
            return
        key = self.store.by_id(principal.key_id)
        if key is None or key.state(self.clock()) is not KeyState.ACTIVE:
            raise no_longer_good()

    def issue(self, change: AuditedChange, wish: KeyWish) -> tuple[ApiKey, str]:
        """Make a key for a tenant, at the word of who operates the service.

        Returns: it as it is kept, and its text, which nobody can read again.
        """
        key, text = _new_key(change, wish, self.clock())
        self.store.add(change, key)
        return key, text

    def issue_bounded(self, change: AuditedChange, wish: KeyWish) -> tuple[ApiKey, str]:
        """The same at the word of the tenant itself.

        What a key makes ends with it at the latest, whether it expires or is revoked, and a
        tenant's own have an upper number.

        Raises: Unauthenticated where the key of the change is not good any more, TooManyKeys.
        """
        key, text = _new_key(change, wish, self.clock())
        return self.store.add_bounded(change, key), text

    def get(self, tenant_id: str, key_id: str) -> ApiKey:
        """Raises: NotFound."""
        return self.store.get(tenant_id, key_id)

    def page(self, tenant_id: str, limit: int, cursor: str | None) -> KeyPage:
        """Newest first, revoked and expired ones, too. Raises: Malformed."""
        return self.store.page(tenant_id, limit, cursor)

    def revoke(self, change: AuditedChange, key_id: str) -> ApiKey:
        """It, and every key that it made or that one of these made, are none any more.

        But for the one that asks: so a tenant can replace its only admin key by one that it made.

        Raises: NotFound, OwnKey, Unauthenticated.
        """
        if key_id == change.key_id:
            raise OwnKey(
                f"{key_id} is the key that this request came with; without it, it may be that "
                "nobody could make another one",
                hint="Revoke it with another admin key, or with `penjing keys revoke` on the host.",
            )
        return self.store.revoke(change, key_id, self.clock)

    def tenant(self, tenant_id: str) -> Tenant:
        """Raises: NotFound."""
        return self.store.tenant(tenant_id)

    def has_admin(self) -> bool:
        """Whether anybody holds a key that can make others."""
        now = self.clock()
        return any(
            Scope.ADMIN in key.scopes and key.state(now) is KeyState.ACTIVE
            for key in self.store.all_keys()
        )

    def _note_use(self, key: ApiKey, now: datetime) -> None:
        try:
            self.store.note_use(key, now)
        except SQLAlchemyError as error:
            # A full disk keeps nobody from reading.
            log.warning("key.use_not_noted", extra={"key_id": key.id, "why": type(error).__name__})


def _new_key(change: AuditedChange, wish: KeyWish, now: datetime) -> tuple[ApiKey, str]:
    text = new_text()
    key = ApiKey(
        id=new_id("key"),
        tenant_id=change.tenant_id,
        name=wish.name,
        prefix=prefix_of(text),
        digest=digest_of(text),
        scopes=wish.scopes,
        created_at=now,
        expires_at=None if wish.lifetime is None else now + wish.lifetime,
        revoked_at=None,
        last_used_at=None,
        made_by=change.key_id,
    )
    return key, text
