"""Whether things that need each other can be done one after the other; pure."""

from collections import deque
from collections.abc import Hashable, Mapping, Set
from typing import TypeVar

Thing = TypeVar("Thing", bound=Hashable)


def first_stuck(needs: Mapping[Thing, Set[Thing]]) -> Thing | None:
    """One that waits for itself, by way of others or not; None where every one gets its turn.

    Args:
        needs: what each has to wait for, all of which must be keys.
    """
    waiting = {thing: len(needed) for thing, needed in needs.items()}
    takers: dict[Thing, list[Thing]] = {}
    for thing, needed in needs.items():
        for maker in needed:
            takers.setdefault(maker, []).append(thing)
    ready = deque(thing for thing, count in waiting.items() if count == 0)
    while ready:
        done = ready.popleft()
        del waiting[done]
        for taker in takers.get(done, ()):
            waiting[taker] -= 1
            if waiting[taker] == 0:
                ready.append(taker)
    return next(iter(waiting), None)
