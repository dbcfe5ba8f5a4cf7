"""Settings: refused when they cannot work, and paths that keep their letters inside URLs."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy.engine import make_url

from app.errors import Malformed
from app.settings import Settings, socket_url

ODD = Path("/data/a?b#c%20d;e+f g@h")


@pytest.mark.parametrize("heartbeat_s", ["15", "20"])
def test_settings_refuse_a_heartbeat_that_comes_after_the_lease(heartbeat_s: str) -> None:
    with pytest.raises(Malformed, match=r"heartbeat_s = .* less than lease_s = 15"):
        Settings.from_environment({"PENJING_HEARTBEAT_S": heartbeat_s})


@pytest.mark.parametrize(
    ("variable", "given", "complaint"),
    [
        ("PENJING_LEASE_S", "abc", r"PENJING_LEASE_S is 'abc': input should be a valid number"),
        ("PENJING_MAX_ATTEMPTS", "0", r"PENJING_MAX_ATTEMPTS is '0': .* greater than or equal"),
        ("PENJING_DATABASE_URL", "foo://x", r"PENJING_DATABASE_URL: .* 'foo'; allowed: sqlite"),
        ("PENJING_DATABASE_URL", "penjing.db", r"no scheme; allowed: sqlite, postgresql"),
        ("PENJING_BROKER_URL", "amqp://x", r"PENJING_BROKER_URL: .* 'amqp'; allowed: redis"),
    ],
)
def test_settings_name_the_variable_when_it_is_refused(
    variable: str, given: str, complaint: str
) -> None:
    with pytest.raises(Malformed, match=complaint):
        Settings.from_environment({variable: given})


def test_settings_keep_a_password_to_themselves_when_its_url_is_refused() -> None:
    with pytest.raises(Malformed) as caught:
        Settings.from_environment({"PENJING_DATABASE_URL": "mysql://user:secret@host/db"})
    assert "secret" not in caught.value.detail
    assert caught.value.__suppress_context__


def test_database_lies_in_the_home_when_its_path_has_letters_that_urls_reserve() -> None:
    url = Settings(home=ODD).resolved_database_url
    assert make_url(url).database == str(ODD / "penjing.db")


def test_broker_lies_in_the_home_when_its_path_has_letters_that_urls_reserve() -> None:
    url = Settings(home=ODD).resolved_broker_url
    assert url == socket_url(ODD / "run" / "broker.sock")
    path = url.removeprefix("redis+socket://")
    assert not set("?#; ") & set(path)
    assert unquote(path) == str(ODD / "run" / "broker.sock")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT_REQUESTS", "100000000"),
        ("TRUSTED_PROXIES", "my-proxy"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ],
)
def test_limits_and_proxies_that_cannot_be_are_refused(name: str, value: str) -> None:
    with pytest.raises(Malformed, match=f"PENJING_{name}"):
        Settings.from_environment({f"PENJING_{name}": value})
