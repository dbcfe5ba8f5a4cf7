"""Whose word on an address is believed, and that nothing but addresses gets through."""

from typing import Any

import pytest

from app.accounts.principal import Scope
from app.api.addresses import address_of
from app.settings import Settings
from tests.app.api import given
from tests.app.api.conftest import Api


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return {"type": "http", "client": (peer, 1) if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("127.0.0.1", ["6.6.6.6"], "", "127.0.0.1"),
        ("10.0.0.1", ["6.6.6.6"], "127.0.0.1", "10.0.0.1"),
        ("127.0.0.1", ["6.6.6.6, 9.9.9.9"], "127.0.0.1", "9.9.9.9"),
        ("127.0.0.1", ["6.6.6.6", "9.9.9.9,10.1.2.3"], "127.0.0.1,10.0.0.0/8", "9.9.9.9"),
        ("127.0.0.1", [], "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", ["10.0.0.9"], "127.0.0.1,10.0.0.0/8", "10.0.0.9"),
        ("127.0.0.1", ["6.6.6.6, <script>"], "127.0.0.1", None),
        ("127.0.0.1", ["A" * 3000], "127.0.0.1", None),
        ("127.0.0.1", [""], "127.0.0.1", None),
        ("::ffff:127.0.0.1", ["9.9.9.9"], "127.0.0.1", "9.9.9.9"),
        ("::1", ["2001:db8::1"], "::1", "2001:db8::1"),
        ("fe80::1%" + "x" * 90, [], "", "fe80::1"),
        ("testclient", [], "", None),
        (None, ["9.9.9.9"], "127.0.0.1", None),
    ],
)
def test_address(peer: str | None, forwarded: list[str], trusted: str, address: str | None) -> None:
    settings = Settings.from_environment({"PENJING_TRUSTED_PROXIES": trusted})
    assert address_of(scope(peer, *forwarded), settings.trusted_proxies) == address


@pytest.mark.anyio
async def test_who_names_another_address_each_time_is_told_to_wait(asking: Api) -> None:
    most = asking.services.settings.rate_limit_refused_keys
    answers = [
        await asking.get("/v1/me", headers={"X-Forwarded-For": f"9.9.9.{number}"})
        for number in range(most + 5)
    ]
    assert 429 in {answer.status_code for answer in answers}


@pytest.mark.anyio
async def test_no_words_get_into_the_log_as_an_address(asking: Api) -> None:
    admin = given.bearing(given.a_key(asking, Scope.ADMIN))
    wish = {"name": "x", "scopes": ["read"]}
    hostile = {**admin, "X-Forwarded-For": "<script>"}
    assert (await asking.post("/v1/api-keys", json=wish, headers=hostile)).status_code == 201
    [entry] = (await asking.get("/v1/audit-log", headers=admin)).json()["items"]
    assert entry["address"] == "127.0.0.1"
