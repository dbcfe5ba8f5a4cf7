"""Single-entry, single-exit regions of a graph of layer calls; pure.

Where paths meet again (a merge), they once parted: at the merge's immediate dominator. What lies
between is a region if nothing inside it is read from outside.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.recipes.keras.graph import Ref
from worker.engine.surgery.wiring import Call, Wiring


@dataclass(frozen=True)
class Region:
    """The calls between two tensors, in no order; `exit` is made by the last of them."""

    entry: Ref
    exit: Ref
    calls: frozenset[Call]


def regions(wiring: Wiring) -> Iterator[Region]:
    """The region of every merge that has one, inner ones before outer ones.

    A region found is stepped over as a whole, so each call is looked at once for every region it
    lies in directly.
    """
    search = _Search(wiring)
    for call, fed in wiring.calls.items():
        if len(set(fed)) > 1:
            region = search.region_of(call)
            if region:
                yield region


class _Search:
    """Dominators of a level, and the regions found so far by their exits."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._position = {call: index for index, call in enumerate(wiring.calls)}
        self._dominators = immediate_dominators(wiring)
        self._found: dict[Call, Region] = {}

    def region_of(self, merge: Call) -> Region | None:
        first = self._dominators[merge]
        exits = self._wiring.made[merge]
        if first is None or len(exits) != 1:
            return None
        walked, inside, entries = [merge], {merge}, set()
        for call in walked:
            known = self._found.get(call)
            inside |= known.calls if known else {call}
            for ref in (known.entry,) if known else self._wiring.calls[call]:
                maker = (ref.layer, ref.node)
                if maker == first:
                    entries.add(ref)
                elif maker not in inside:
                    inside.add(maker)
                    walked.append(maker)
            if call != merge and not self._is_read_before(call, merge):
                return None
        if len(entries) != 1 or not self._is_closed(walked[1:], inside):
            return None
        region = Region(entries.pop(), exits[0], frozenset(inside))
        self._found[merge] = region
        return region

    def _is_read_before(self, call: Call, merge: Call) -> bool:
        """Whether no reader comes after the merge, which says early that there is no region."""
        last = self._position[merge]
        refs = self._wiring.made[call]
        return all(self._position[by] <= last for ref in refs for by in self._wiring.readers[ref])

    def _is_closed(self, calls: list[Call], inside: set[Call]) -> bool:
        made = [ref for call in calls for ref in self._wiring.made[call]]
        return not any(ref in self._wiring.outputs for ref in made) and all(
            by in inside for ref in made for by in self._wiring.readers[ref]
        )


def immediate_dominators(wiring: Wiring) -> Mapping[Call, Call | None]:
    """Call (or input) -> the last one that every path to it goes through; None: there is none.

    One pass suffices in a graph without cycles (Cooper, Harvey & Kennedy 2001, figure 3).
    """
    found: dict[Call, Call | None] = {(ref.layer, ref.node): None for ref in wiring.inputs}
    depth: dict[Call, int] = dict.fromkeys(found, 0)
    for call, fed in wiring.calls.items():
        makers = [(ref.layer, ref.node) for ref in fed]
        common: Call | None = makers[0] if makers else None
        for maker in makers[1:]:
            common = _common(found, depth, common, maker)
        found[call] = common
        depth[call] = 0 if common is None else depth[common] + 1
    return found


def _common(
    found: Mapping[Call, Call | None],
    depth: Mapping[Call, int],
    one: Call | None,
    other: Call | None,
) -> Call | None:
    """The nearest call that is on the way to both."""
    while one != other:
        if one is None or other is None:
            return None
        if depth[one] >= depth[other]:
            one = found[one]
        else:
            other = found[other]
    return one
