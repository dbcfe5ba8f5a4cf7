"""Accounts on both databases, with a clock that stands still."""

import pytest

from app.accounts.service import AccountService
from app.accounts.store import AccountStore
from app.database.engine import Database
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def accounts(both_databases: Database, clock: FakeClock) -> AccountService:
    return AccountService(AccountStore(both_databases), clock)
