"""Which units go: the order in which groups are made narrower, and how far; pure.

A selection is a beginning of one order of cuts. That one order serves a share of every layer, a
share of all layers together, and a target for multiply-accumulates.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np

from worker.engine.context import BoolArray
from worker.engine.pruning.importance import FloatArray

Scope = Literal["per_layer", "global"]

# How far from a target for multiply-accumulates counts as met, relative to the target.
TOLERANCE = 0.02

# Of how many last cuts each is tried to be passed over.
LOOK_BACK = 64


@dataclass(frozen=True, eq=False)
class Candidate:
    """A group that may become narrower.

    `scores`: [units] as there are now; low goes first, of equal ones the one with the lowest index.
    `before`: units that there were before the first round. `multiple`: what is left is a multiple.
    """

    name: str
    scores: FloatArray
    before: int
    multiple: int = 1

    @property
    def widths(self) -> tuple[int, ...]:
        """How many units may be left: all that there are, then every multiple below."""
        count = len(self.scores)
        widest = (count - 1) // self.multiple * self.multiple
        return (count, *range(widest, 0, -self.multiple))


@dataclass(frozen=True)
class Cut:
    """A group made narrower by one step: `taken` units go, `width` are left. Low ranks go first."""

    group: str
    width: int
    taken: int
    rank: float


MacsAfter = Callable[[Sequence[Cut]], float]


def cuts(candidates: Iterable[Candidate], scope: Scope) -> tuple[Cut, ...]:
    """Every possible cut, in the order in which they are made.

    per_layer: the rank of a cut is the share of the group's units that is gone half-way through it,
    so that the cuts ranked below a ratio leave what is nearest to it; a tie leaves more.
    global: the mean score of the units that the cut takes.
    """
    found: list[Cut] = []
    for candidate in candidates:
        ranks = _shares(candidate) if scope == "per_layer" else _mean_scores(candidate)
        found += [
            Cut(candidate.name, width, wider - width, rank)
            for (wider, width), rank in zip(pairwise(candidate.widths), ranks, strict=True)
        ]
    # Stable: a group's own cuts stay in their order.
    return tuple(sorted(found, key=lambda cut: cut.rank))


def _shares(candidate: Candidate) -> list[float]:
    return [
        1 - (wider + width) / 2 / candidate.before for wider, width in pairwise(candidate.widths)
    ]


def _mean_scores(candidate: Candidate) -> list[float]:
    ascending = np.sort(candidate.scores)
    gone = [len(ascending) - width for width in candidate.widths]
    means = [float(ascending[a:b].mean()) for a, b in pairwise(gone)]
    # Rounding may put a mean of equal scores below the one before it.
    return list(accumulate(means, max))


def cuts_for_ratio(order: Sequence[Cut], ratio: float, scope: Scope, units: int) -> Sequence[Cut]:
    """The cuts that take the share `ratio`: out of each group, or `units` of all groups together.

    units: global: how many are to be taken in all; what comes nearest to it, rather fewer.
    """
    if scope == "per_layer":
        return [cut for cut in order if cut.rank < ratio]
    gone = [0, *accumulate(cut.taken for cut in order)]
    nearest = min(range(len(gone)), key=lambda made: (abs(gone[made] - units), made))
    return order[:nearest]


def cuts_for_macs(order: Sequence[Cut], macs_after: MacsAfter, target: float) -> Sequence[Cut]:
    """The cuts that leave `target` multiply-accumulates, within TOLERANCE where that is possible.

    Bisects over the beginnings of the order. Where one cut leads from above the tolerance to below
    it, cuts near the end are passed over for those of other groups that come next. If that fails as
    well, the most that is below the target is left; everything is cut if even that leaves more.
    """
    if macs_after(()) <= target * (1 + TOLERANCE):
        return ()
    if macs_after(order) > target:
        return order
    above, below = 0, len(order)
    while below - above > 1:
        middle = (above + below) // 2
        if macs_after(order[:middle]) > target:
            above = middle
        else:
            below = middle
    sides = [(macs_after(made), made) for made in (order[:below], order[:above])]
    left, nearest = min(sides, key=lambda side: abs(side[0] - target))
    return nearest if _is_met(left, target) else _passing_over(order, above, macs_after, target)


def _is_met(left: float, target: float) -> bool:
    return abs(left - target) <= TOLERANCE * target


def _passing_over(
    order: Sequence[Cut], above: int, macs_after: MacsAfter, target: float
) -> Sequence[Cut]:
    """The best of what passing over one of the last cuts and going on with others leads to.

    above: so many first cuts leave too much, one more too little.
    """
    best = (macs_after(order[: above + 1]), order[: above + 1])
    for passed in range(above, max(above - LOOK_BACK, -1), -1):
        for left, made in _without(order, passed, macs_after, target):
            if _is_met(left, target):
                return made
            if best[0] < left <= target:
                best = (left, made)
    return best[1]


def _without(
    order: Sequence[Cut], passed: int, macs_after: MacsAfter, target: float
) -> Iterator[tuple[float, Sequence[Cut]]]:
    """What each next cut leaves, if one is passed over, and each that leads below the tolerance.

    A group of which one cut is passed over stays as wide as it then is.
    """
    made = list(order[:passed])
    over = {order[passed].group}
    for cut in order[passed + 1 :]:
        if cut.group in over:
            continue
        left = macs_after([*made, cut])
        yield left, [*made, cut]
        if left < target * (1 - TOLERANCE):
            over.add(cut.group)
        else:
            made.append(cut)


def keep_masks(candidates: Iterable[Candidate], made: Sequence[Cut]) -> dict[str, BoolArray]:
    """True for the units that stay, [units], for every group that is cut."""
    widths = {cut.group: cut.width for cut in made}
    masks = {}
    for candidate in candidates:
        count = len(candidate.scores)
        if candidate.name in widths:
            lowest = np.argsort(candidate.scores, kind="stable")
            keep = np.ones(count, np.bool_)
            keep[lowest[: count - widths[candidate.name]]] = False
            masks[candidate.name] = keep
    return masks
