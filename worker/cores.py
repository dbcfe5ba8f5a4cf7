"""Which cores each of the jobs has that a worker runs at a time.

A job that spins on more threads than there are cores would take them from the others, and disturb
what they measure; without rights over control groups, only a division of the cores keeps it off.
"""

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

Cores = frozenset[int]
# Of the second edition of control groups: "max", or microseconds of work, and of time.
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def divided(cores: Sequence[int], count: int) -> list[Cores]:
    """`count` shares of these cores, as equal as they can be; where cores are few, some share."""
    if count > len(cores):
        return [frozenset({cores[index % len(cores)]}) for index in range(count)]
    bounds = [index * len(cores) // count for index in range(count + 1)]
    return [frozenset(cores[low:high]) for low, high in pairwise(bounds)]


def shares_of_this_machine(count: int) -> list[Cores]:
    """The cores this process may use, divided; no more of them than a container's quota pays for.

    Jobs that spend more than the quota make each other wait, whatever cores they run on. The
    workers of one host begin at different cores: with a quota, each has a few out of many.
    """
    cores = sorted(os.sched_getaffinity(0))
    if count == 1:
        return [frozenset(cores)]
    first = os.getpid() * count % len(cores)
    return divided((cores[first:] + cores[:first])[: max(count, _paid_for(len(cores)))], count)


def _paid_for(most: int) -> int:
    try:
        work, time = QUOTA.read_text().split()
        return min(most, math.ceil(int(work) / int(time)))
    except (OSError, ValueError):
        return most
