"""Who is let in: with which key, from where, and what is said to who is not."""

import asyncio
import threading
from typing import Any

import anyio.to_thread
import httpx
import pytest
from sqlalchemy.exc import OperationalError

from app.accounts.principal import DEFAULT_TENANT, Scope
from app.api.authentication import asks_for_keys
from app.settings import Settings
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.fakes import a_change

pytestmark = pytest.mark.anyio

LOOPBACK = ("127.0.0.1", 8000)
LIMIT_S = 40.0
UNKNOWN_KEY = f"pj_{'0' * 12}_{'0' * 64}"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/me", "/nothing/there"])
async def test_request_without_a_key_is_refused(asking: Api, path: str) -> None:
    answer = await asking.get(path)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_request_without_a_key_is_refused_before_its_body_is_read(asking: Api) -> None:
    answer = await asking.post("/v1/jobs", content=b"{", headers={"content-type": "x"})
    assert answer.status_code == 401


@pytest.mark.parametrize("header", ["Bearer {}\u00a0", "Bearer \u0085{}", "Bearer\t{}"])
async def test_key_is_refused_when_other_than_spaces_are_around_it(
    asking: Api, header: str
) -> None:
    sent = header.format(given.a_key(asking)).encode("latin-1")
    answer = await asking.get("/v1/models", headers={"Authorization": sent})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{}"),
        ("GET", "/{}"),
        ("PUT", "/v1/models/{}"),
        ("GET", "/v1/jobs?{}=1"),
        ("GET", "/v1/jobs?state={}"),
        ("GET", "/v1/jobs?cursor={}"),
    ],
)
async def test_key_that_was_pasted_elsewhere_is_not_repeated(
    api: Api, method: str, path: str
) -> None:
    answer = await api.http.request(method, path.format(UNKNOWN_KEY))
    assert answer.status_code >= 400
    assert UNKNOWN_KEY[3:15] not in answer.text


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {UNKNOWN_KEY}",
        f"Basic {UNKNOWN_KEY}",
        UNKNOWN_KEY,
        "Bearer \u00e9",
        "Bearer " + "x" * 9000,
        "Bearer pj_'; DROP TABLE api_keys; --",
    ],
)
async def test_key_that_is_none_is_refused_and_not_repeated(asking: Api, header: str) -> None:
    answer = await asking.get("/v1/models", headers={"Authorization": header.encode("latin-1")})

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert UNKNOWN_KEY not in answer.text


async def test_two_keys_are_refused(asking: Api) -> None:
    key = given.a_key(asking)
    both = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")]
    assert (await asking.get("/v1/models", headers=both)).status_code == 401


async def test_key_lets_in_and_is_named_nowhere(asking: Api) -> None:
    key = given.a_key(asking)
    answer = await asking.get("/v1/me", headers=given.bearing(key))

    assert answer.status_code == 200
    assert answer.json()["tenant"] == {"id": DEFAULT_TENANT, "name": "default"}
    assert answer.json()["key"]["prefix"] == key[:15]
    assert answer.json()["scopes"] == ["read"]
    assert key not in answer.text
    assert key.rpartition("_")[2] not in answer.text


async def test_scheme_of_the_header_may_be_written_small(asking: Api) -> None:
    headers = {"Authorization": f"bearer {given.a_key(asking)}"}
    assert (await asking.get("/v1/models", headers=headers)).status_code == 200


async def test_missing_scope_is_named(asking: Api) -> None:
    reader = given.bearing(given.a_key(asking))
    answer = await asking.post("/v1/jobs/job_1/cancel", headers=reader)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "scope_missing")
    assert "'submit'" in problem["detail"]
    assert 'scope="submit"' in answer.headers["www-authenticate"]


async def test_what_says_nothing_of_tenants_is_open(asking: Api) -> None:
    for path in ("/livez", "/healthz", "/v1/version", "/openapi.json", "/docs"):
        assert (await asking.get(path)).status_code == 200
    assert (await asking.get("/readyz")).status_code in (200, 503)


async def test_lost_database_is_unavailable_to_who_brings_a_key(
    asking: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise OperationalError("SELECT secret", None, Exception("at 10.0.0.7"))

    monkeypatch.setattr(type(asking.services.accounts.store), "by_prefix", lost)
    answer = await asking.get("/v1/models", headers=given.bearing(UNKNOWN_KEY))

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "10.0.0.7" not in answer.text


async def test_key_of_ours_counts_where_none_is_asked_for(api: Api) -> None:
    assert (await api.get("/v1/me")).json()["key"] is None
    bearing = given.bearing(given.a_key(api))
    assert (await api.get("/v1/me", headers=bearing)).json()["scopes"] == ["read"]
    assert (await api.get("/v1/me", headers=given.bearing(UNKNOWN_KEY))).status_code == 401


async def test_credentials_of_a_proxy_do_not_count_where_no_key_is_asked_for(api: Api) -> None:
    for header in ("Basic dXNlcjpwYXNz", "Bearer eyJhbGciOi.J9.x"):
        answer = await api.get("/v1/me", headers={"Authorization": header})
        assert answer.json()["scopes"] == ["read", "submit", "admin"]


def connection(server: tuple[str, int | None] | None, **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "server": server, "headers": raw}


@pytest.mark.parametrize(
    "server",
    [
        *(LOOPBACK, ("127.9.9.9", 80), ("::1", 8000), ("/run/penjing.sock", None)),
        ("::ffff:127.0.0.1", 8000),  # of a socket for both families
    ],
)
def test_nobody_is_asked_for_a_key_on_this_machine(server: tuple[str, int | None]) -> None:
    assert not asks_for_keys(connection(server, host="anything"), None)


@pytest.mark.parametrize(
    "server",
    [
        *(("10.0.0.1", 8000), ("0.0.0.0", 8000), ("::", 8000), ("2001:db8::1", 80)),
        ("::ffff:10.0.0.1", 8000),
        *(("localhost.example", 80), ("api", None), None),
    ],
)
def test_everybody_else_is_asked(server: tuple[str, int | None] | None) -> None:
    assert asks_for_keys(connection(server, host="127.0.0.1"), None)


@pytest.mark.parametrize(
    "header",
    [
        *("forwarded", "x_forwarded_for", "x_forwarded_host", "x_forwarded_proto", "via"),
        *("x_real_ip", "cf_connecting_ip", "true_client_ip", "x_original_forwarded_for"),
    ],
)
def test_proxy_on_this_machine_does_not_stand_for_this_machine(header: str) -> None:
    assert asks_for_keys(connection(LOOPBACK, **{header: "for=127.0.0.1"}), None)


@pytest.mark.parametrize("required", [True, False])
def test_setting_has_the_last_word(required: bool) -> None:
    for server in (LOOPBACK, ("10.0.0.1", 8000)):
        assert asks_for_keys(connection(server), required) is required


def test_keys_are_asked_for_by_where_a_request_came_from_unless_it_is_set() -> None:
    assert Settings().require_keys is None
    assert Settings.from_environment({"PENJING_REQUIRE_KEYS": "true"}).require_keys is True


async def test_host_may_be_any_name_where_keys_are_asked_for(asking: Api) -> None:
    headers = {"Host": "penjing.example.com", **given.bearing(given.a_key(asking))}
    assert (await asking.get("/v1/models", headers=headers)).status_code == 200


async def test_stream_and_wait_end_when_the_key_is_revoked(asking: Api, url: str) -> None:
    headers = given.bearing(given.a_key(asking, Scope.SUBMIT))
    body = given.a_body(given.a_model(asking))
    job = (await asking.post("/v1/jobs", json=body, headers=headers)).json()
    key_id = (await asking.get("/v1/me", headers=headers)).json()["key"]["id"]
    path = f"/v1/jobs/{job['id']}"
    waiting = asyncio.create_task(asking.get(path, headers={**headers, "Prefer": "wait=60"}))
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(
            base_url=url, trust_env=False, headers=headers, timeout=LIMIT_S
        ) as client,
        client.stream("GET", f"{path}/events") as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines)

        asking.services.accounts.revoke(a_change(), key_id)

        assert "succeeded" not in "".join([line async for line in lines])
        problem = (await waiting).json()
    assert (problem["status"], "while it waited" in problem["detail"]) == (401, True)


async def test_who_asks_is_found_out_while_all_threads_of_the_handlers_are_busy(
    asking: Api,
) -> None:
    go_on, headers = threading.Event(), given.bearing(given.a_key(asking))
    shared = anyio.to_thread.current_default_thread_limiter()
    busy = [
        asyncio.create_task(anyio.to_thread.run_sync(go_on.wait, LIMIT_S))
        for _ in range(int(shared.total_tokens))
    ]
    try:
        async with asyncio.timeout(LIMIT_S / 4):
            while shared.available_tokens:  # noqa: ASYNC110 - threads start when they like
                await asyncio.sleep(0.01)
            answer = await asking.get("/nothing/there", headers=headers)
        assert answer.status_code == 404
    finally:
        go_on.set()
        await asyncio.gather(*busy)
