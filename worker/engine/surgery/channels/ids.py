"""Numbers for channels: which are one and the same channel, and which have to stay."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

# Stands where a channel has no number, since nothing could ever take it out: those of an input.
FIXED = -1
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Classes:
    """What came of all that was said about the ids.

    `labels`: [ids], the smallest id of the class each one belongs to. `stops`: [ids], index of the
    first reason why that class has to stay, -1 where it may go.
    """

    labels: IntArray
    stops: IntArray


class Ids:
    """Hands out ids, and hears which of them are one channel and which have to stay.

    Everything is written down as it comes and worked out once, in `classes`, on whole arrays: time
    stays linear in the number of channels.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._count = 0
        self._pairs: list[tuple[IntArray, IntArray]] = []
        self._stopped: list[tuple[IntArray, int]] = []

    def new(self, count: int) -> IntArray:
        """[count] ids that nobody had before."""
        self._count += count
        return np.arange(self._count - count, self._count)

    def unite(self, first: IntArray, second: IntArray, reason: str) -> IntArray:
        """Element by element, two ids become one channel: [channels].

        What is united with a FIXED one has to stay, for `reason`, and is FIXED in what is returned.
        """
        both = (first != FIXED) & (second != FIXED)
        self._pairs.append((first[both], second[both]))
        self.stop(first[~both], reason)
        self.stop(second[~both], reason)
        return np.where(both, first, FIXED)

    def stop(self, ids: IntArray, reason: str) -> None:
        """These channels have to stay."""
        named = ids[ids != FIXED]
        if named.size:
            self._stopped.append((named, len(self.reasons)))
            self.reasons.append(reason)

    def stop_foremost(self, ids: IntArray, reason: str) -> None:
        """These channels have to stay, which is to be said rather than any reason there was."""
        self.reasons.insert(0, reason)
        later = [(stopped, place + 1) for stopped, place in self._stopped]
        self._stopped = [(ids[ids != FIXED], 0), *later]

    def classes(self) -> Classes:
        first = np.concatenate([_NONE, *(pair[0] for pair in self._pairs)])
        second = np.concatenate([_NONE, *(pair[1] for pair in self._pairs)])
        labels = connected(self._count, first, second)
        never = len(self.reasons)
        earliest = np.full(self._count, never)
        for ids, reason in self._stopped:
            np.minimum.at(earliest, labels[ids], reason)
        stops = earliest[labels]
        return Classes(labels, np.where(stops == never, -1, stops))


def connected(count: int, first: IntArray, second: IntArray) -> IntArray:
    """[count]: the smallest member of the set that each number is in; pairs are in one set.

    Union-find on arrays: in every round each root hooks onto the lowest root it is paired with,
    then all paths are halved until they are flat (after Shiloach and Vishkin, J. Algorithms 1982).
    The number of rounds grows with the logarithm of the largest set.
    """
    parents = np.arange(count)
    while True:
        one, other = parents[first], parents[second]
        apart = one != other
        if not apart.any():
            return parents
        first, second = first[apart], second[apart]
        low = np.minimum(one[apart], other[apart])
        np.minimum.at(parents, np.maximum(one[apart], other[apart]), low)
        while (parents != parents[parents]).any():
            parents = parents[parents]
