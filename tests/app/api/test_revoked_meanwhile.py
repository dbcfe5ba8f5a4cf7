"""A key that is revoked while a body arrives does nothing any more; what it made ends with it."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from app.accounts.keys import Unauthenticated
from app.accounts.principal import ANYBODY, DEFAULT_TENANT, Principal, Scope
from app.accounts.service import KeyWish
from app.accounts.store import TooManyKeys
from app.settings import MOST_KEYS
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.api.test_uploads import CSV, MODEL
from tests.fakes import a_change, by

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
ADMIN = frozenset({Scope.ADMIN})


@pytest.fixture
def victim(asking: Api) -> Principal:
    return a_maker(asking, None)


def a_maker(api: Api, lifetime: timedelta | None) -> Principal:
    key, _ = api.services.accounts.issue(a_change(), KeyWish("maker", ADMIN, lifetime))
    return Principal(DEFAULT_TENANT, key.id, ADMIN)


async def revoked_while_sending(api: Api, path: str, *pieces: bytes, **headers: str) -> Any:
    key, text = api.services.accounts.issue(a_change(), KeyWish("victim", ADMIN, None))

    async def body() -> AsyncIterator[bytes]:
        yield pieces[0]
        api.services.accounts.revoke(a_change(), key.id)
        for piece in pieces[1:]:
            yield piece

    return await api.post(path, content=body(), headers={**given.bearing(text), **headers})


async def test_revoked_key_makes_no_other_one(asking: Api) -> None:
    body = b'{"name": "zombie", "scopes": ["admin"]}'
    answer = await revoked_while_sending(asking, "/v1/api-keys", body[:5], body[5:], **JSON)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    names = [key.name for key in asking.services.accounts.store.all_keys()]
    assert names == ["victim"]


async def test_revoked_key_submits_no_job(asking: Api) -> None:
    body = json.dumps(given.a_body(given.a_model(asking))).encode()
    answer = await revoked_while_sending(asking, "/v1/jobs", body[:5], body[5:], **JSON)
    assert answer.status_code == 401
    assert asking.queue.sent == []


@pytest.mark.parametrize("path", ["/v1/models", "/v1/datasets"])
async def test_revoked_key_uploads_nothing(asking: Api, path: str) -> None:
    content = MODEL.read_bytes() if path == "/v1/models" else CSV
    answer = await revoked_while_sending(asking, path, content[:10], content[10:])
    assert answer.status_code == 401, answer.text
    assert asking.services.uploads.store.referenced() == set()


async def test_key_that_is_not_good_any_more_makes_none_at_the_very_last(
    asking: Api, victim: Principal
) -> None:
    accounts = asking.services.accounts
    accounts.revoke(a_change(), str(victim.key_id))
    with pytest.raises(Unauthenticated):
        accounts.issue_bounded(by(victim), KeyWish("zombie", ADMIN, None))


@pytest.mark.parametrize(("asked_s", "given_s"), [(None, 60), (3600, 60), (30, 30)])
async def test_key_ends_with_the_one_that_made_it(
    asking: Api, asked_s: int | None, given_s: int
) -> None:
    maker = a_maker(asking, timedelta(seconds=60))
    wish = KeyWish("made", ADMIN, None if asked_s is None else timedelta(seconds=asked_s))
    made, _ = asking.services.accounts.issue_bounded(by(maker), wish)
    assert made.expires_at == asking.clock() + timedelta(seconds=given_s)
    assert asking.services.accounts.get(DEFAULT_TENANT, made.id) == made


async def test_tenant_has_so_many_good_keys_and_not_one_more(asking: Api) -> None:
    accounts, wish = asking.services.accounts, KeyWish("one of many", ADMIN, None)
    made = [accounts.issue_bounded(by(ANYBODY), wish)[0] for _ in range(MOST_KEYS)]
    with pytest.raises(TooManyKeys):
        accounts.issue_bounded(by(ANYBODY), wish)
    accounts.issue(a_change(), wish)  # who operates the service is not bound
    for key in made[:2]:
        accounts.revoke(a_change(), key.id)
    accounts.issue_bounded(by(ANYBODY), wish)


async def test_keys_of_a_tenant_are_counted_together(asking: Api) -> None:
    settings = asking.services.settings.model_copy(
        update={"rate_limit_requests": 4, "rate_limit_tenant_keys": 2}
    )
    object.__setattr__(asking.services, "settings", settings)
    keys = [given.a_key(asking) for _ in range(3)]
    asked = [
        [(await asking.get("/v1/me", headers=given.bearing(key))).status_code for _ in range(3)]
        for key in keys
    ]
    assert asked == [[200] * 3, [200] * 3, [200, 200, 429]]
