"""Keys that are revoked at the very moment at which somebody uses them, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, func, select, update

from app.accounts.audited_changes import AuditedChange, record_change
from app.accounts.keys import ApiKey, Unauthenticated
from app.accounts.principal import DEFAULT_TENANT, Scope
from app.accounts.service import AccountService, KeyWish
from app.database.engine import Database
from app.database.tables import api_keys, audit_log
from tests.app.races import meanwhile
from tests.fakes import FakeClock, a_change

ADMIN = KeyWish("an admin", frozenset({Scope.ADMIN}), None)
ROUNDS = 10


@pytest.fixture
def key(accounts: AccountService) -> ApiKey:
    return accounts.issue(a_change(), ADMIN)[0]


def change_by(key: ApiKey) -> AuditedChange:
    return AuditedChange(DEFAULT_TENANT, "thing.change", 200, key.id)


def times_written(database: Database, key: ApiKey) -> int:
    query = select(func.count()).where(audit_log.c.key_id == key.id)
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def test_change_is_not_made_where_its_key_is_revoked_meanwhile(
    both_databases: Database, key: ApiKey, clock: FakeClock
) -> None:
    revoked = update(api_keys).where(api_keys.c.id == key.id).values(revoked_at=clock())

    def change() -> None:
        with both_databases.write() as connection:
            record_change(connection, change_by(key), "thing", clock())

    with pytest.raises(Unauthenticated):
        meanwhile(both_databases, lambda connection: connection.execute(revoked), change)
    assert times_written(both_databases, key) == 0


def test_revocation_ends_after_the_change_that_was_first(
    both_databases: Database, accounts: AccountService, key: ApiKey, clock: FakeClock
) -> None:
    def change(connection: Connection) -> None:
        record_change(connection, change_by(key), "thing", clock())

    def written_when_revoked() -> int:
        accounts.revoke(a_change(), key.id)
        return times_written(both_databases, key)

    assert meanwhile(both_databases, change, written_when_revoked) == 1


def test_of_two_keys_that_revoke_each_other_one_is_left(accounts: AccountService) -> None:
    def revoke(pair: tuple[ApiKey, ApiKey]) -> bool:
        mine, other = pair
        try:
            accounts.revoke(change_by(mine), other.id)
        except Unauthenticated:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            one, two = (accounts.issue(a_change(), ADMIN)[0] for _ in range(2))
            assert sorted(pool.map(revoke, [(one, two), (two, one)])) == [False, True]
