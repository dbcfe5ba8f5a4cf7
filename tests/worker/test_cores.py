"""Jobs at the same time have cores of their own."""

import os
from pathlib import Path

import pytest

from worker import cores
from worker.cores import divided, shares_of_this_machine


@pytest.mark.parametrize(
    ("count", "shares"),
    [
        (1, [{0, 1, 2, 3, 4}]),
        (2, [{0, 1}, {2, 3, 4}]),
        (5, [{0}, {1}, {2}, {3}, {4}]),
        (7, [{0}, {1}, {2}, {3}, {4}, {0}, {1}]),
    ],
)
def test_cores_are_divided_as_equally_as_can_be(count: int, shares: list[set[int]]) -> None:
    assert divided(range(5), count) == shares


def test_single_place_has_every_core() -> None:
    assert shares_of_this_machine(1) == [os.sched_getaffinity(0)]


def test_places_have_no_more_cores_than_the_quota_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text("350000 100000\n")
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))

    first, second = shares_of_this_machine(2)

    assert len(first) == len(second) == 2
    assert not first & second
