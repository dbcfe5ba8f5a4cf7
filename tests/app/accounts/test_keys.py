"""How a key is made and what is kept of it."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.accounts.keys import ApiKey, KeyState, digest_of, is_text_of, new_text, prefix_of
from app.accounts.principal import DEFAULT_TENANT, Principal, Scope

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READ, SUBMIT, ADMIN = Scope
KEY = ApiKey(
    id="key_1",
    tenant_id=DEFAULT_TENANT,
    name="ci",
    prefix="0" * 12,
    digest="d" * 64,
    scopes=frozenset({READ}),
    created_at=NOW,
    expires_at=NOW + timedelta(days=1),
    revoked_at=None,
    last_used_at=None,
    made_by=None,
)


def test_text_of_a_key_has_a_prefix_and_256_random_bits() -> None:
    texts = {new_text() for _ in range(100)}
    assert len({text.rpartition("_")[2] for text in texts}) == 100
    assert all(re.fullmatch(r"pj_[0-9a-f]{12}_[0-9a-f]{64}", text) for text in texts)


def test_prefix_is_the_part_between_mark_and_secret() -> None:
    assert prefix_of("pj_0123456789ab_" + "f" * 64) == "0123456789ab"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pj_",
        "0123456789ab",
        "pj_0123456789ab_" + "f" * 63,
        "pj_0123456789ab_" + "F" * 64,
        "pj_0123456789ab_" + "f" * 64 + "\n",
        "pj_\u0660123456789ab_" + "f" * 64,
        "\ud800",
    ],
)
def test_text_that_is_no_key_has_no_prefix_and_a_digest_all_the_same(text: str) -> None:
    assert prefix_of(text) == ""
    assert not is_text_of(digest_of(new_text()), text)


def test_digest_is_of_the_whole_text_and_not_in_it() -> None:
    text = new_text()
    assert is_text_of(digest_of(text), text)
    assert digest_of(text[:-1] + "0") != digest_of(text[:-1] + "1")
    assert digest_of(text) not in text


def test_key_does_not_show_its_digest() -> None:
    assert KEY.digest not in repr(KEY)


def test_state_changes_at_the_very_moment() -> None:
    assert KEY.state(NOW + timedelta(days=1, microseconds=-1)) is KeyState.ACTIVE
    assert KEY.state(NOW + timedelta(days=1)) is KeyState.EXPIRED
    assert replace(KEY, revoked_at=NOW).state(NOW) is KeyState.REVOKED
    assert replace(KEY, expires_at=None).state(NOW + timedelta(days=9999)) is KeyState.ACTIVE


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ({READ}, {READ}),
        ({SUBMIT}, {READ, SUBMIT}),
        ({ADMIN}, {READ, SUBMIT, ADMIN}),
        ({READ, SUBMIT}, {READ, SUBMIT}),
        (set(), set()),
    ],
)
def test_scope_includes_those_before_it(granted: set[Scope], allowed: set[Scope]) -> None:
    principal = Principal(DEFAULT_TENANT, None, frozenset(granted))
    assert {scope for scope in Scope if principal.may(scope)} == allowed
