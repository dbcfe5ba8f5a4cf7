"""Who is let in, for how long, and what that costs; on both databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from app.accounts import keys, service
from app.accounts.audit import AuditLog
from app.accounts.audited_changes import AuditedChange
from app.accounts.keys import ApiKey, KeyState, Unauthenticated, new_text
from app.accounts.principal import DEFAULT_TENANT, Principal, Scope
from app.accounts.service import AccountService, KeyWish, OwnKey
from app.accounts.store import AccountStore
from app.database.engine import Database
from app.errors import Malformed, NotFound
from tests.app.conftest import add_tenant
from tests.fakes import FakeClock, a_change, by

OTHER = "ten_other"
READER = KeyWish("a reader", frozenset({Scope.READ}), None)
ADMIN = KeyWish("an admin", frozenset({Scope.ADMIN}), None)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def test_key_lets_in_as_who_it_was_made_for(accounts: AccountService) -> None:
    key, given = accounts.issue(a_change(), READER)

    who = accounts.authenticate(given)

    assert who == Principal(DEFAULT_TENANT, key.id, frozenset({Scope.READ}))


def test_nothing_of_the_text_but_its_prefix_is_stored(
    accounts: AccountService, both_databases: Database
) -> None:
    key, given = accounts.issue(a_change(), READER)
    secret = given.rpartition("_")[2]

    with both_databases.read() as connection:
        row = connection.execute(text("SELECT * FROM api_keys")).mappings().one()

    assert secret not in str(dict(row))
    assert (row["prefix"], row["digest"]) == (key.prefix, keys.digest_of(given))


def test_unknown_prefix_wrong_secret_and_nonsense_take_the_same_path(
    accounts: AccountService, both_databases: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def counted(digest: str, given: str) -> bool:
        compared.append(digest)
        return keys.is_text_of(digest, given)

    monkeypatch.setattr(service, "is_text_of", counted)
    _, there = accounts.issue(a_change(), READER)
    refusals, asked = [], []
    for wrong in (new_text(), there[:-1] + ("0" if there[-1] != "0" else "1"), "nonsense"):
        with statements(both_databases) as seen, pytest.raises(Unauthenticated) as refused:
            accounts.authenticate(wrong)
        refusals.append((refused.value.detail, refused.value.hint))
        asked.append(seen)

    assert len(compared) == 3
    assert {len(digest) for digest in compared} == {64}
    assert refusals == refusals[:1] * 3
    assert asked == asked[:1] * 3


def test_revoked_key_opens_nothing_from_then_on(accounts: AccountService) -> None:
    key, given = accounts.issue(a_change(), READER)
    assert accounts.authenticate(given).key_id == key.id
    assert accounts.good_ones({key.id}) == {key.id}

    accounts.revoke(a_change(), key.id)

    with pytest.raises(Unauthenticated, match="is revoked"):
        accounts.authenticate(given)
    assert accounts.good_ones({key.id}) == set()


def test_revoking_again_changes_nothing(accounts: AccountService, clock: FakeClock) -> None:
    key, _ = accounts.issue(a_change(), READER)
    first = accounts.revoke(a_change(), key.id)
    clock.advance(60)
    assert accounts.revoke(a_change(), key.id) == first


def test_expired_key_opens_nothing(accounts: AccountService, clock: FakeClock) -> None:
    wish = KeyWish("for a day", frozenset({Scope.READ}), timedelta(days=1))
    key, given = accounts.issue(a_change(), wish)
    clock.advance(24 * 3600 - 1)
    accounts.authenticate(given)
    clock.advance(1)

    with pytest.raises(Unauthenticated, match="is expired"):
        accounts.authenticate(given)
    assert accounts.get(DEFAULT_TENANT, key.id).state(clock()) is KeyState.EXPIRED


def test_use_is_written_down_once_a_minute(
    accounts: AccountService, both_databases: Database, clock: FakeClock
) -> None:
    key, given = accounts.issue(a_change(), READER)
    first = clock()
    with statements(both_databases) as seen:
        for _ in range(60):
            accounts.authenticate(given)
            clock.advance(1)
    assert sum("UPDATE" in statement for statement in seen) == 1
    assert accounts.get(DEFAULT_TENANT, key.id).last_used_at == first

    accounts.authenticate(given)
    assert accounts.get(DEFAULT_TENANT, key.id).last_used_at == clock()


def test_database_that_cannot_be_written_keeps_nobody_out(
    accounts: AccountService, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, given = accounts.issue(a_change(), READER)

    def full(*_: object) -> None:
        raise OperationalError("", None, Exception("disk full"))

    monkeypatch.setattr(AccountStore, "note_use", full)
    assert accounts.authenticate(given).key_id == key.id


def test_key_cannot_revoke_itself(accounts: AccountService) -> None:
    key, given = accounts.issue(a_change(), ADMIN)
    with pytest.raises(OwnKey, match=key.id):
        accounts.revoke(by(accounts.authenticate(given)), key.id)
    assert accounts.authenticate(given).key_id == key.id


def made_by(accounts: AccountService, maker: ApiKey) -> ApiKey:
    return accounts.issue_bounded(by_key(maker), ADMIN)[0]


def by_key(key: ApiKey) -> AuditedChange:
    return a_change(key.tenant_id, key.id)


def test_key_is_revoked_with_all_that_it_made(
    accounts: AccountService, both_databases: Database
) -> None:
    leaked, other = (accounts.issue(a_change(), ADMIN)[0] for _ in range(2))
    child = made_by(accounts, leaked)
    grandchild, was_revoked = (made_by(accounts, child) for _ in range(2))
    beyond = made_by(accounts, was_revoked)
    accounts.revoke(a_change(), was_revoked.id)
    stranger = made_by(accounts, other)
    assert (child.made_by, other.made_by) == (leaked.id, None)

    accounts.revoke(replace(by_key(other), action="api_key.revoke"), leaked.id)

    everybody = {key.id for key in (leaked, child, grandchild, beyond, other, stranger)}
    assert accounts.good_ones(everybody) == {other.id, stranger.id}
    log = AuditLog(both_databases, accounts.clock).latest(50)
    told = [one.entry.object_id for one in log if one.entry.action == "api_key.revoke"]
    assert sorted(map(str, told)) == sorted([leaked.id, child.id, grandchild.id])


def test_only_admin_key_can_be_replaced_by_one_that_it_made(accounts: AccountService) -> None:
    leaked = accounts.issue(a_change(), ADMIN)[0]
    mine, thiefs = (made_by(accounts, leaked) for _ in range(2))
    also_mine = made_by(accounts, mine)

    accounts.revoke(by_key(mine), leaked.id)

    everybody = {key.id for key in (leaked, mine, thiefs, also_mine)}
    assert accounts.good_ones(everybody) == {mine.id, also_mine.id}


def test_moment_of_a_revocation_is_taken_when_nobody_else_can_revoke(
    accounts: AccountService, both_databases: Database, clock: FakeClock
) -> None:
    key, _ = accounts.issue(a_change(), READER)
    asked_after: list[list[str]] = []

    with statements(both_databases) as seen:

        def noted() -> datetime:
            asked_after.append(list(seen))
            return clock()

        replace(accounts, clock=noted).revoke(a_change(), key.id)

    [before] = asked_after
    assert "FROM tenants" in before[-1]


def test_admin_is_there_while_one_of_its_keys_is_good(
    accounts: AccountService, clock: FakeClock
) -> None:
    accounts.issue(a_change(), READER)
    assert not accounts.has_admin()
    accounts.issue(a_change(), KeyWish("a", ADMIN.scopes, timedelta(days=1)))
    assert accounts.has_admin()
    clock.advance(24 * 3600)
    assert not accounts.has_admin()
    again, _ = accounts.issue(a_change(), ADMIN)
    accounts.revoke(a_change(), again.id)
    assert not accounts.has_admin()


def test_keys_of_another_tenant_are_not_there(
    accounts: AccountService, both_databases: Database
) -> None:
    add_tenant(both_databases, OTHER, "other")
    key, given = accounts.issue(a_change(), READER)

    assert accounts.page(OTHER, 10, None).items == []
    with pytest.raises(NotFound, match=key.id):
        accounts.get(OTHER, key.id)
    with pytest.raises(NotFound, match=key.id):
        accounts.revoke(a_change(OTHER), key.id)
    assert accounts.authenticate(given).tenant_id == DEFAULT_TENANT


def test_pages_hold_every_key_once_newest_first(accounts: AccountService) -> None:
    made = sorted((accounts.issue(a_change(), READER)[0] for _ in range(5)), key=by_id)[::-1]
    first = accounts.page(DEFAULT_TENANT, 3, None)
    rest = accounts.page(DEFAULT_TENANT, 3, first.next_cursor)
    assert [*first.items, *rest.items] == made
    assert rest.next_cursor is None


@pytest.mark.parametrize("cursor", ["", "key_", "mdl_" + "0" * 26, "key_" + "g" * 26])
def test_page_refuses_cursors_of_others(accounts: AccountService, cursor: str) -> None:
    with pytest.raises(Malformed):
        accounts.page(DEFAULT_TENANT, 3, cursor)


def test_tenant_of_a_name_is_made_once(accounts: AccountService, clock: FakeClock) -> None:
    first = accounts.store.add_tenant("vision", clock())
    assert accounts.store.add_tenant("vision", clock()) == first
    assert accounts.store.tenant_names() == {DEFAULT_TENANT: "default", first.id: "vision"}


def by_id(key: Any) -> str:
    return str(key.id)
