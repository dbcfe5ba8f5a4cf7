"""Who is told to wait for itself, where things that need each other cannot be done in order."""

from collections.abc import Mapping, Set

import pytest

from app.uploads.inspector.topological_order import node_in_cycle


@pytest.mark.parametrize(
    ("needs", "waits_for_itself"),
    [
        ({}, None),
        ({"a": {"b"}, "b": set(), "c": {"a", "b"}}, None),
        ({"a": {"a"}}, "a"),
        ({"x": {"a"}, "a": {"a"}}, "a"),
        ({"x": {"a"}, "a": {"b"}, "b": {"c"}, "c": {"b"}, "y": {"c"}}, "b"),
    ],
    ids=["nothing", "in order", "itself", "one stands behind it", "before it and behind it"],
)
def test_node_is_in_the_circle_not_beside_it(
    needs: Mapping[str, Set[str]], waits_for_itself: str | None
) -> None:
    assert node_in_cycle(needs) == waits_for_itself


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_same_node_is_named_in_whichever_order_a_set_comes(names: str) -> None:
    needs = {"x": dict.fromkeys(names).keys(), "a": {"a"}, "b": {"b"}}
    assert node_in_cycle(needs) == "a"
