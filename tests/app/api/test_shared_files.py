"""Two tenants with the same file, and with the same Idempotency-Key: neither notices the other."""

from datetime import UTC, datetime, timedelta

import pytest

from app.accounts.principal import Scope
from app.main import sweep
from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

ROWS = b"a,label\n" + b"1,0\n2,1\n" * 20
PATH = "/v1/datasets?label=label&name=rows.csv"


@pytest.fixture
def keys(asking: Api) -> list[dict[str, str]]:
    """Headers that bring a key, of two tenants."""
    store = asking.services.accounts.store
    tenants = [store.add_tenant(name, asking.clock()).id for name in ("one", "two")]
    return [given.bearing(given.a_key(asking, Scope.SUBMIT, tenant)) for tenant in tenants]


async def test_file_that_another_tenant_has_is_taken_in_and_kept_alike(
    asking: Api, keys: list[dict[str, str]]
) -> None:
    first, second = [await asking.post(PATH, content=ROWS, headers=key) for key in keys]

    assert (first.status_code, second.status_code) == (201, 201)
    mine, theirs = first.json(), second.json()
    differing = {name for name in mine if mine[name] != theirs[name]}
    assert differing == {"id"}
    assert first.headers.keys() == second.headers.keys()


async def test_file_outlives_that_of_another_tenant(
    asking: Api, keys: list[dict[str, str]]
) -> None:
    first, second = [(await asking.post(PATH, content=ROWS, headers=key)).json() for key in keys]

    gone = await asking.http.delete(f"/v1/datasets/{first['id']}", headers=keys[0])
    asking.clock.now = datetime.now(UTC) + timedelta(days=1)
    sweep(asking.services)

    assert gone.status_code == 204
    content = await asking.get(f"/v1/datasets/{second['id']}/content", headers=keys[1])
    assert (content.status_code, content.content) == (200, ROWS)
    await asking.http.delete(f"/v1/datasets/{second['id']}", headers=keys[1])
    sweep(asking.services)
    assert not asking.services.blobs.path(second["sha256"]).exists()


async def test_idempotency_key_of_another_tenant_is_a_new_one(
    asking: Api, keys: list[dict[str, str]]
) -> None:
    tenants = [(await asking.get("/v1/me", headers=key)).json()["tenant"]["id"] for key in keys]
    asking.services.jobs.in_flight.add((tenants[0], "submit:k-2"))
    made = [
        await asking.post(
            "/v1/jobs",
            json=given.a_body(given.a_model(asking, tenant_id=tenant)),
            headers={**key, "Idempotency-Key": "k-1"},
        )
        for tenant, key in zip(tenants, keys, strict=True)
    ]
    meanwhile = await asking.post(
        "/v1/jobs",
        json=given.a_body(given.a_model(asking, tenant_id=tenants[1])),
        headers={**keys[1], "Idempotency-Key": "k-2"},
    )

    assert [answer.status_code for answer in (*made, meanwhile)] == [202, 202, 202]
    assert len({answer.json()["id"] for answer in (*made, meanwhile)}) == 3


async def test_place_in_the_queue_is_among_the_jobs_of_the_tenant(
    asking: Api, keys: list[dict[str, str]]
) -> None:
    places = []
    for key in (keys[0], keys[0], keys[1]):
        tenant = (await asking.get("/v1/me", headers=key)).json()["tenant"]["id"]
        body = given.a_body(given.a_model(asking, tenant_id=tenant))
        places.append((await asking.post("/v1/jobs", json=body, headers=key)).json())

    assert [job["queue_position"] for job in places] == [1, 2, 1]
