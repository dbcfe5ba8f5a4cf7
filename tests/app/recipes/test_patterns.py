"""Layer patterns: regular expressions that cannot hold up the API."""

import time

import pytest

from app.recipes.patterns import compiled, matches, matching


def test_pattern_must_match_the_whole_name() -> None:
    assert matches("dense.*", "dense_1")
    assert not matches("dense", "dense_1")


def test_pattern_with_nested_repetition_takes_no_time() -> None:
    pattern = "(" + "|".join(f"[^{digit}]" for digit in range(10)) + ")*!"
    started = time.process_time()

    assert not matches(pattern, "a" * 200)

    assert time.process_time() - started < 5


def test_pattern_that_is_none_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"missing \)"):
        compiled("(")


def test_patterns_that_people_write_are_no_program_too_long() -> None:
    for pattern in (
        "|".join(f"block_{n}_dense" for n in range(12)),
        "block_[0-9]+_(expand|project|depthwise)(_bn|_relu)?",
        r"(?i)(conv|dense)_[\w/]{1,60}",
        r"\pL+",
        r"[^/]{1,40}/.*",
        ".{0,200}",
    ):
        compiled(pattern)


@pytest.mark.parametrize("pattern", [r"\pL{80}", r"(\pL\pN){40}", "(.{1,30}){1,30}"])
def test_pattern_that_stands_for_too_much_is_refused_at_once(pattern: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match="stands for too much; repeat less"):
        compiled(pattern)
    assert time.process_time() - started < 1


def test_matching_names_are_those_that_some_pattern_matches() -> None:
    assert matching(["a.*", "b"], ["a", "ab", "b", "bb"]) == {"a", "ab", "b"}
    assert matching([], ["a"]) == set()
