"""Conditional requests and preferences, as pure functions."""

import pytest

from app.api.conditional import none_match, preferred_wait_s


@pytest.mark.parametrize("known", ['"v1"', 'W/"v1"', '"v0", W/"v1"', "*"])
def test_none_match_is_false_when_the_caller_knows_it(known: str) -> None:
    assert not none_match(known, 'W/"v1"')


@pytest.mark.parametrize("known", [None, '"v0"', "v1", '"v1x"', ""])
def test_none_match_is_true_when_the_caller_does_not_know_it(known: str | None) -> None:
    assert none_match(known, 'W/"v1"')


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ("wait=30", 30),
        ("respond-async, wait=5", 5),
        ('Wait="2"', 2),
        ("wait=9999", 60),
        ("wait=-1", None),
        ("wait=soon", None),
        ("", None),
        (None, None),
    ],
)
def test_wait_is_read_when_it_is_a_number(prefer: str | None, wait_s: float | None) -> None:
    assert preferred_wait_s(prefer) == wait_s
