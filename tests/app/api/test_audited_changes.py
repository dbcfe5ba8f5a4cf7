"""A change and its row of the audit log are one transaction: both are there, or neither."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from app.accounts.principal import Principal, Scope
from app.accounts.service import AccountService
from app.api.auditing import HARMLESS, action_of
from app.database.tables import audit_log, metadata
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.api.test_uploads import CSV, MODEL
from tests.fakes import a_change

pytestmark = pytest.mark.anyio

Headers = Mapping[str, str]
Change = Callable[[Api, Headers], Awaitable[httpx.Response]]


async def upload_model(api: Api, who: Headers) -> httpx.Response:
    return await api.post("/v1/models", content=MODEL.read_bytes(), headers=who)


async def upload_dataset(api: Api, who: Headers) -> httpx.Response:
    return await api.post("/v1/datasets", content=CSV, headers=who)


async def delete_model(api: Api, who: Headers) -> httpx.Response:
    return await api.http.delete(f"/v1/models/{some(api, 'mdl')}", headers=who)


async def delete_dataset(api: Api, who: Headers) -> httpx.Response:
    return await api.http.delete(f"/v1/datasets/{some(api, 'dst')}", headers=who)


async def submit_job(api: Api, who: Headers) -> httpx.Response:
    headers = {**who, "Idempotency-Key": "once"}
    return await api.post("/v1/jobs", json=given.a_body(some(api, "mdl")), headers=headers)


async def cancel_job(api: Api, who: Headers) -> httpx.Response:
    return await api.post(f"/v1/jobs/{some(api, 'queued')}/cancel", headers=who)


async def retry_job(api: Api, who: Headers) -> httpx.Response:
    return await api.post(f"/v1/jobs/{some(api, 'succeeded')}/retry", headers=who)


async def delete_job(api: Api, who: Headers) -> httpx.Response:
    return await api.http.delete(f"/v1/jobs/{some(api, 'succeeded')}", headers=who)


async def create_api_key(api: Api, who: Headers) -> httpx.Response:
    return await api.post("/v1/api-keys", json={"name": "x", "scopes": ["read"]}, headers=who)


async def revoke_api_key(api: Api, who: Headers) -> httpx.Response:
    return await api.http.delete(f"/v1/api-keys/{some(api, 'key')}", headers=who)


CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (
        *(upload_model, upload_dataset, delete_model, delete_dataset),
        *(submit_job, cancel_job, retry_job, delete_job, create_api_key, revoke_api_key),
    )
}


def some(api: Api, what: str) -> str:
    """The id of something of the tenant that a change may be made to."""
    where = {
        "mdl": "SELECT id FROM uploads WHERE id LIKE 'mdl%' AND id NOT IN "
        "(SELECT upload_id FROM job_uploads)",
        "dst": "SELECT id FROM uploads WHERE id LIKE 'dst%'",
        "key": "SELECT id FROM api_keys WHERE name = 'spare'",
    }
    query = where.get(what, f"SELECT id FROM jobs WHERE state = '{what}'")
    with api.services.jobs.database.read() as connection:
        return str(connection.execute(text(query)).scalar_one())


def content(api: Api) -> dict[str, list[Any]]:
    """Every row of every table, but for those of the audit log and when keys were used."""
    with api.services.jobs.database.read() as connection:
        return {
            table.name: sorted(
                str({**row, "last_used_at": None})
                for row in connection.execute(select(table)).mappings()
            )
            for table in metadata.sorted_tables
            if table is not audit_log
        }


def entries(api: Api) -> list[Any]:
    with api.services.jobs.database.read() as connection:
        return list(connection.execute(select(audit_log).order_by(audit_log.c.seq)))


@pytest.fixture
async def house(asking: Api) -> Api:
    """A tenant with a bit of everything."""
    given.a_model(asking)
    given.a_dataset(asking)
    who = given.bearing(given.a_key(asking, Scope.ADMIN))
    for state in ("queued", "succeeded"):
        body = given.a_body(given.a_model(asking))
        job = (await asking.post("/v1/jobs", json=body, headers=who)).json()
        if state == "succeeded":
            given.succeeded(asking, job["id"])
    given.a_key(asking, name="spare")
    return asking


@pytest.fixture
def admin(house: Api) -> Headers:
    return given.bearing(given.a_key(house, Scope.ADMIN))


def test_every_change_is_tried_here() -> None:
    assert given.changing_routes() - HARMLESS == set(CHANGES), "add the new route to CHANGES"


@pytest.mark.parametrize("name", CHANGES)
async def test_change_is_written_down_once_with_what_it_was_answered(
    house: Api, admin: Headers, name: str
) -> None:
    before = content(house)
    known = len(entries(house))

    answer = await CHANGES[name](house, {**admin, "X-Request-ID": "mine"})

    [entry] = entries(house)[known:]
    assert (entry.action, entry.status) == (action_of(name), answer.status_code)
    assert answer.status_code < 300
    assert (entry.request_id, entry.address) == ("mine", "127.0.0.1")
    after = content(house)
    assert after != before
    assert entry.object_id in str(after) + str(before)


@pytest.mark.parametrize("name", CHANGES)
async def test_change_that_cannot_be_written_down_is_not_made(
    house: Api, admin: Headers, name: str
) -> None:
    change = CHANGES[name]
    with house.services.jobs.database.write() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE INSERT ON audit_log WHEN NEW.status < 300 "
                "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
        )
    before, sent = content(house), list(house.queue.sent)

    answer = await change(house, admin)

    assert answer.status_code in (500, 503, 507), answer.text
    assert content(house) == before
    assert house.queue.sent == sent
    assert entries(house)[-1].status == answer.status_code


@pytest.mark.parametrize("name", CHANGES)
async def test_change_by_a_key_that_is_revoked_at_the_last_moment_is_not_made(
    house: Api, admin: Headers, name: str
) -> None:
    accounts = RevokedOnceAdmitted(house.services.accounts.store, house.clock)
    house.application.state.services = replace(house.services, accounts=accounts)
    before = content(house)

    answer = await CHANGES[name](house, admin)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    revoked = {"api_keys": None}
    assert {**content(house), **revoked} == {**before, **revoked}
    names = {key.name for key in accounts.store.all_keys() if key.revoked_at is None}
    assert names == {"test", "spare"}


class RevokedOnceAdmitted(AccountService):
    """Takes the key from whoever was just let in with it."""

    def require_still_good(self, principal: Principal) -> None:
        super().require_still_good(principal)
        self.revoke(a_change(), str(principal.key_id))


@pytest.mark.parametrize("name", ["submit_job", "cancel_job", "retry_job", "revoke_api_key"])
async def test_what_is_asked_again_and_changes_nothing_is_not_written_down(
    house: Api, admin: Headers, name: str
) -> None:
    paths: list[httpx.Request] = []
    house.http.event_hooks = {"request": [keeping(paths)]}
    await CHANGES[name](house, admin)
    known, before = len(entries(house)), content(house)

    again = await house.http.send(paths[0])

    assert again.status_code < 300
    assert (len(entries(house)), content(house)) == (known, before)


def keeping(kept: list[httpx.Request]) -> Callable[[httpx.Request], Awaitable[None]]:
    async def keep(request: httpx.Request) -> None:
        kept.append(request)

    return keep
