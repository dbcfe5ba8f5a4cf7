"""Whether things that need each other can be done one after the other; pure."""

from collections.abc import Hashable, Mapping, Set
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

Thing = TypeVar("Thing", bound=Hashable)


def node_in_cycle(needs: Mapping[Thing, Set[Thing]]) -> Thing | None:
    """One that waits for itself, by way of others or not; None where every one gets its turn.

    Of several always the same one: sets come in any order, `needs` in its own.

    Args:
        needs: what each has to wait for, all of which must be keys.
    """
    sorter = TopologicalSorter[Thing](dict.fromkeys(needs, ()))
    for node, needed in needs.items():
        sorter.add(node, *needed)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle: list[Thing] = error.args[1]
        return cycle[0]
    return None
