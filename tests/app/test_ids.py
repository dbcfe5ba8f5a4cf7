"""Ids sort by age."""

from functools import partial
from inspect import signature

from app.ids import ID, new_id
from tests.fakes import SteadyClock


def test_ids_sort_by_age_as_far_as_the_clock_tells_them_apart() -> None:
    second = 1_000_000_000
    moments = [0, 1, 999_999, 1_000_000, 1_000_001, second, 1_800_000_000 * second]
    made = [new_id("key", partial(int, moment)) for moment in moments]
    assert made == sorted(made)


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id("key", lambda: 1) for _ in range(1000)}) == 1000


def test_an_id_says_what_it_names() -> None:
    made = new_id("job")
    assert made.startswith("job_")
    assert ID.fullmatch(made)


def test_ids_of_tests_sort_by_age_whatever_the_clock_of_the_machine_does() -> None:
    moments = [5, 5, 3, 9]
    clock = SteadyClock(iter(moments).__next__)
    assert [clock() for _ in moments] == [5, 6, 7, 9]
    assert isinstance(signature(new_id).parameters["now_ns"].default, SteadyClock)
