"""How often a key may ask, and an address try keys, at the edge of each limit."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from app.accounts.principal import DEFAULT_TENANT, Scope
from app.accounts.rates import MemoryRates
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.fakes import a_change

pytestmark = pytest.mark.anyio


@pytest.fixture
async def limited(asking: Api) -> AsyncIterator[Api]:
    """Five requests, two uploads, three wrong keys a minute, by the clock of the test."""
    changes = {"rate_limit_requests": 5, "rate_limit_uploads": 2, "rate_limit_refused_keys": 3}
    services = asking.services
    asking.application.state.services = replace(
        services,
        settings=services.settings.model_copy(update=changes),
        rates=MemoryRates(lambda: int(asking.clock().timestamp() * 1e6)),
    )
    yield asking
    await services.rates.close()


async def answers(api: Api, count: int, key: str, path: str = "/v1/me") -> list[httpx.Response]:
    return [await api.get(path, headers=given.bearing(key)) for _ in range(count)]


async def test_key_may_ask_so_often_and_not_once_more(limited: Api) -> None:
    key, other = given.a_key(limited), given.a_key(limited)

    asked = await answers(limited, 6, key)

    assert [answer.status_code for answer in asked] == [200] * 5 + [429]
    problem = asked[-1].json()
    assert (problem["code"], problem["retryable"]) == ("too_many_requests", True)
    assert problem["detail"] == "this key may have 5 requests a minute"
    assert asked[-1].headers["retry-after"] == "12"
    assert asked[0].headers["ratelimit-policy"] == (
        '"requests";q=5;w=60, "tenant_requests";q=25;w=60'
    )
    assert asked[0].headers["ratelimit"] == '"requests";r=4;t=12, "tenant_requests";r=24;t=3'
    assert asked[-1].headers["ratelimit"] == '"requests";r=0;t=60'
    assert [answer.status_code for answer in await answers(limited, 1, other)] == [200]

    limited.clock.advance(12)
    assert [answer.status_code for answer in await answers(limited, 2, key)] == [200, 429]


async def test_refused_request_does_nothing(limited: Api) -> None:
    key = given.bearing(given.a_key(limited, Scope.SUBMIT))
    for _ in range(5):
        await limited.get("/v1/me", headers=key)
    model_id = given.a_model(limited)
    assert (await limited.http.delete(f"/v1/models/{model_id}", headers=key)).status_code == 429
    limited.clock.advance(60)
    assert (await limited.get(f"/v1/models/{model_id}", headers=key)).status_code == 200


async def test_uploads_are_counted_by_themselves_too(limited: Api) -> None:
    key = given.bearing(given.a_key(limited, Scope.SUBMIT))
    sent = [await limited.post("/v1/datasets", content=b"", headers=key) for _ in range(3)]
    assert [answer.status_code == 429 for answer in sent] == [False, False, True]
    assert sent[-1].headers["retry-after"] == "30"
    assert sent[0].headers["ratelimit"].startswith('"requests";r=4;t=12, "uploads";r=1;t=30')
    assert (await limited.get("/v1/datasets", headers=key)).status_code == 200


async def test_refused_upload_is_not_read(limited: Api) -> None:
    key = given.bearing(given.a_key(limited, Scope.SUBMIT))
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"1,2\n"

    for _ in range(2):
        await limited.post("/v1/datasets", content=b"", headers=key)
    answer = await limited.post("/v1/datasets", content=body(), headers=key)
    assert (answer.status_code, read) == (429, 0)


async def test_address_is_told_to_wait_when_it_tries_too_many_keys(limited: Api) -> None:
    wrong = f"pj_{'0' * 12}_{'0' * 64}"
    asked = await answers(limited, 4, wrong)
    assert [answer.status_code for answer in asked] == [401] * 3 + [429]
    assert asked[-1].headers["retry-after"] == "20"
    assert (await limited.get("/v1/me")).status_code == 429

    # Others behind the same address have keys that are right, and go on.
    assert [answer.status_code for answer in await answers(limited, 1, given.a_key(limited))] == [
        200
    ]
    limited.clock.advance(20)
    assert [answer.status_code for answer in await answers(limited, 2, wrong)] == [401, 429]


async def test_revoked_key_counts_as_a_wrong_one(limited: Api) -> None:
    text = given.a_key(limited)
    [key] = limited.services.accounts.page(DEFAULT_TENANT, 1, None).items
    limited.services.accounts.revoke(a_change(), key.id)
    asked = await answers(limited, 4, text)
    assert [answer.status_code for answer in asked] == [401] * 3 + [429]
    assert "ratelimit" not in asked[0].headers


async def test_who_needs_no_key_is_not_counted(api: Api) -> None:
    changes = {"rate_limit_requests": 1}
    services = api.services
    api.application.state.services = replace(
        services, settings=services.settings.model_copy(update=changes)
    )
    for _ in range(3):
        answer = await api.get("/v1/jobs")
        assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)


async def test_open_paths_are_not_counted(limited: Api) -> None:
    key = given.a_key(limited)
    asked = await answers(limited, 7, key, "/livez")
    assert {answer.status_code for answer in asked} == {200}


async def test_nothing_is_counted_where_the_limit_is_zero(limited: Api) -> None:
    services = limited.services
    changes = {"rate_limit_requests": 0, "rate_limit_refused_keys": 0}
    limited.application.state.services = replace(
        services, settings=services.settings.model_copy(update=changes)
    )
    asked = await answers(limited, 10, given.a_key(limited))
    assert [answer.status_code for answer in asked] == [200] * 10
    assert "ratelimit" not in asked[0].headers
    assert {answer.status_code for answer in await answers(limited, 10, "pj_x")} == {401}
