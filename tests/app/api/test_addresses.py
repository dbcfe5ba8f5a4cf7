"""Whose word on an address is believed, and that nothing but addresses gets through."""

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from app.accounts.principal import Scope
from app.api.addresses import address_of, counted_as
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
        # Some proxies name the port, too.
        ("127.0.0.1", ["6.6.6.6, 9.9.9.9:50123"], "127.0.0.1", "9.9.9.9"),
        ("127.0.0.1", ["[2001:db8::1]:50123"], "127.0.0.1", "2001:db8::1"),
        ("127.0.0.1", ["[2001:db8::1]"], "127.0.0.1", "2001:db8::1"),
        ("127.0.0.1", ["[fe80::1%<script>]:1"], "127.0.0.1", "fe80::1"),
        ("127.0.0.1", ["9.9.9.9:x:1"], "127.0.0.1", None),
        ("127.0.0.1", ["[9.9.9.9"], "127.0.0.1", None),
        ("fe80::1%" + "x" * 90, [], "", "fe80::1"),
        ("testclient", [], "", None),
        (None, ["9.9.9.9"], "127.0.0.1", None),
    ],
)
def test_address(peer: str | None, forwarded: list[str], trusted: str, address: str | None) -> None:
    settings = Settings.from_environment({"PENJING_TRUSTED_PROXIES": trusted})
    assert address_of(scope(peer, *forwarded), settings.trusted_proxies) == address


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("9.9.9.9", "9.9.9.9"),
        (None, "unknown"),
    ],
)
def test_ipv6_address_is_counted_by_its_network(address: str | None, counted: str) -> None:
    assert counted_as(address) == counted


@pytest.mark.anyio
async def test_who_has_a_network_of_addresses_is_told_to_wait(asking: Api) -> None:
    services = asking.services
    changes = {"rate_limit_refused_keys": 3, "trusted_proxies": (IPv4Network("127.0.0.1"),)}
    settings = services.settings.model_copy(update=changes)
    asking.application.state.services = replace(services, settings=settings)
    answers = [
        await asking.get("/v1/me", headers={"X-Forwarded-For": f"2001:db8:1:{net}::{number}"})
        for net, number in ((2, 1), (2, 2), (2, 3), (2, 4), (3, 1))
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 401]


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
    entry, *_ = (await asking.get("/v1/audit-log", headers=admin)).json()["items"]
    assert entry["action"] == "api_key.create"
    assert entry["address"] == "127.0.0.1"
