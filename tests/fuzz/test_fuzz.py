"""A slice of the fuzzing, and that a case is found again by its number."""

from collections import Counter

import pytest

from tests.fuzz.cases import MUTATIONS, case
from tests.fuzz.confirming import is_held
from tests.fuzz.over_http import send
from tests.fuzz.running import run
from tests.fuzz.seeds import seeds

MEMORY_BYTES = 400 * 2**20
QUICK, QUICK_HTTP = 1500, 10
LONG, LONG_HTTP = 20_000, 500


def check(start: int, count: int, *, processes: int) -> None:
    tally = run(start, count, processes=processes)
    assert sum(tally.verdicts.values(), Counter()).total() == count
    crashes = [found for found in tally.findings if found.verdict == "crash"]
    assert crashes == []
    assert all(is_held(case(found.number)) for found in tally.findings)
    assert tally.peak_bytes < MEMORY_BYTES


def test_readers_refuse_mutated_uploads_or_take_them() -> None:
    check(0, QUICK, processes=1)


@pytest.mark.anyio
async def test_api_answers_mutated_uploads_without_an_error_of_its_own() -> None:
    assert await send(0, QUICK_HTTP) == []


@pytest.mark.hostile
@pytest.mark.timeout(1800)
def test_readers_refuse_many_mutated_uploads_or_take_them() -> None:
    check(QUICK, LONG, processes=2)


@pytest.mark.hostile
@pytest.mark.anyio
@pytest.mark.timeout(1800)
async def test_api_answers_many_mutated_uploads_without_an_error_of_its_own() -> None:
    assert await send(QUICK, LONG_HTTP) == []


def test_case_is_the_same_when_its_number_is() -> None:
    assert [case(number) for number in range(200)] == [case(number) for number in range(200)]


def test_cases_are_of_every_format_and_differ() -> None:
    cases = [case(number) for number in range(800)]
    assert {each.format for each in cases} == MUTATIONS.keys() == seeds().keys()
    assert len({each.content for each in cases}) > 700


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
