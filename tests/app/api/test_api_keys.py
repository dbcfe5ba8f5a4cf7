"""The keys of a tenant, made, read and revoked over HTTP."""

from typing import Any

import pytest

from app.accounts.principal import Scope
from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

PATH = "/v1/api-keys"
WISH = {"name": "ci of the vision team", "scopes": ["submit"], "expires_in_s": 3600}


@pytest.fixture
def admin(asking: Api) -> dict[str, str]:
    return given.bearing(given.a_key(asking, Scope.ADMIN))


async def made(api: Api, admin: dict[str, str], **changes: Any) -> dict[str, Any]:
    answer = await api.post(PATH, json=WISH | changes, headers=admin)
    assert answer.status_code == 201, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def test_key_is_shown_once_and_works_from_then_on(asking: Api, admin: dict[str, str]) -> None:
    answer = await asking.post(PATH, json=WISH, headers=admin)

    view = answer.json()
    text = view.pop("key")
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert (view["name"], view["scopes"], view["state"]) == (WISH["name"], ["submit"], "active")
    assert text.startswith(f"{view['prefix']}_")
    assert (await asking.get(answer.headers["location"], headers=admin)).json() == view
    assert text not in (await asking.get(PATH, headers=admin)).text
    me = (await asking.get("/v1/me", headers=given.bearing(text))).json()
    assert (me["key"]["id"], me["scopes"]) == (view["id"], ["read", "submit"])


async def test_revoked_key_opens_nothing_at_once(asking: Api, admin: dict[str, str]) -> None:
    key = await made(asking, admin)
    bearing = given.bearing(key["key"])
    assert (await asking.get("/v1/models", headers=bearing)).status_code == 200

    gone = await asking.http.delete(f"{PATH}/{key['id']}", headers=admin)

    assert gone.status_code == 204
    assert (await asking.get("/v1/models", headers=bearing)).status_code == 401
    assert (await asking.get(f"{PATH}/{key['id']}", headers=admin)).json()["state"] == "revoked"
    again = await asking.http.delete(f"{PATH}/{key['id']}", headers=admin)
    assert again.status_code == 204


async def test_key_ends_by_itself(asking: Api, admin: dict[str, str]) -> None:
    key = await made(asking, admin, expires_in_s=60)
    asking.clock.advance(60)

    answer = await asking.get("/v1/models", headers=given.bearing(key["key"]))

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "expired" in answer.json()["detail"]


async def test_key_cannot_revoke_itself(asking: Api, admin: dict[str, str]) -> None:
    own = (await asking.get("/v1/me", headers=admin)).json()["key"]["id"]
    answer = await asking.http.delete(f"{PATH}/{own}", headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (409, "own_key")
    assert (await asking.get("/v1/me", headers=admin)).status_code == 200


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["root"]}, "/scopes/0"),
        ({"name": ""}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"expires_in_s": 0}, "/expires_in_s"),
        ({"expires_in_s": 10**12}, "/expires_in_s"),
        ({"tenant_id": "ten_other"}, "/tenant_id"),
    ],
)
async def test_wish_that_cannot_be_met_is_refused(
    asking: Api, admin: dict[str, str], change: dict[str, Any], pointer: str
) -> None:
    answer = await asking.post(PATH, json=WISH | change, headers=admin)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_keys_are_listed_newest_first_page_by_page(
    asking: Api, admin: dict[str, str]
) -> None:
    ids = [(await made(asking, admin))["id"] for _ in range(3)]

    first = await asking.get(f"{PATH}?limit=2", headers=admin)
    rest = await asking.get(f"{PATH}?cursor={first.json()['next_cursor']}", headers=admin)

    listed = [key["id"] for page in (first, rest) for key in page.json()["items"]]
    assert sorted(listed, reverse=True) == listed
    assert set(ids) < set(listed)
    assert 'rel="next"' in first.headers["link"]


async def test_anybody_may_make_the_first_key_where_none_is_asked_for(api: Api) -> None:
    answer = await api.post(PATH, json={"name": "first", "scopes": ["admin"]})
    assert answer.status_code == 201
    assert answer.json()["expires_at"] is None
