"""How far away a test is decides its marker and its turn: the near ones run first."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDERS = {HERE / "worker" / "engine": "slow", HERE / "e2e": "e2e"}
TURN = {"slow": 1, "e2e": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder, marker in FOLDERS.items():
            if item.path.is_relative_to(folder):
                item.add_marker(marker)
    items.sort(key=distance)


def distance(item: pytest.Item) -> int:
    return max((TURN.get(mark.name, 0) for mark in item.iter_markers()), default=0)
