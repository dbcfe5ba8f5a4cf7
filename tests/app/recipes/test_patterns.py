"""Layer patterns: regular expressions that cannot hold up the API."""

import time

import pytest

from app.recipes.patterns import compiled, matches


def test_pattern_must_match_the_whole_name() -> None:
    assert matches("dense.*", "dense_1")
    assert not matches("dense", "dense_1")


def test_pattern_with_nested_repetition_takes_no_time() -> None:
    pattern = "(" + "|".join(f"[^{digit}]" for digit in range(10)) + ")*!"
    started = time.process_time()

    assert not matches(pattern, "a" * 200)

    assert time.process_time() - started < 0.5


def test_pattern_that_is_none_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"missing \)"):
        compiled("(")
