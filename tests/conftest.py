"""How far away a test is decides its marker and its turn: the near ones run first."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import ids
from tests.fakes import SteadyClock

HERE = Path(__file__).parent
FOLDERS = {HERE / "worker" / "engine": "slow", HERE / "e2e": "e2e"}
TURN = {"slow": 1, "e2e": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder, marker in FOLDERS.items():
            if item.path.is_relative_to(folder):
                item.add_marker(marker)
    items.sort(key=distance)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: to look through it again in every file takes half a second."""
    gc.freeze()


def distance(item: pytest.Item) -> int:
    return max((TURN.get(mark.name, 0) for mark in item.iter_markers()), default=0)


@pytest.fixture(scope="session", autouse=True)
def ids_sort_by_age() -> Iterator[None]:
    """Also where the clock of the machine stands still between two of them, or is set back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids.new_id, "__defaults__", (SteadyClock(),))
        yield


@pytest.fixture(scope="module", autouse=True)
def leaks_stay_in_their_file() -> Iterator[None]:
    """What a test left open in a cycle of references warns here, not in a later file."""
    yield
    gc.collect()
