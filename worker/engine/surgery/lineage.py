"""Which entries of the uploaded model's weights are left in the model as it is now; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int_]

# Weight -> axis -> [length before surgery], True for what it leaves; what is not named stays whole.
KeptAxes = Mapping[str, Mapping[int, BoolArray]]


@dataclass(frozen=True, eq=False)
class Lineage:
    """What a model has of the uploaded one, by stable weight name; made with nothing: all of it.

    `entries`: weight -> axis -> [length now], indices along that axis of the uploaded weight; an
    axis that is not named is whole. `foreign`: weights that are not the uploaded model's any more,
    with the reason. Both may name weights that are gone since. `descends` is False for a model that
    somebody built elsewhere: then names say nothing.
    """

    entries: Mapping[str, Mapping[int, IntArray]] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    descends: bool = True

    def narrowed(self, kept: KeptAxes) -> "Lineage":
        """After surgery on channels; `kept` refers to the weights as they are now."""
        entries = dict(self.entries)
        for weight, axes in kept.items():
            before = self.entries.get(weight, {})
            cut = {
                axis: before.get(axis, np.arange(len(stays)))[stays]
                for axis, stays in axes.items()
                if not stays.all()
            }
            if cut:
                entries[weight] = {**before, **cut}
        return replace(self, entries=entries)

    def with_foreign(self, weights: Iterable[str], reason: str) -> "Lineage":
        """After these weights were made anew, or came to mean something else."""
        return replace(self, foreign={**self.foreign, **dict.fromkeys(weights, reason)})

    def survivors(self, weight: str, uploaded: Array) -> Array:
        """What is left of an uploaded weight, in the order that the model has it now."""
        for axis, indices in self.entries.get(weight, {}).items():
            uploaded = np.take(uploaded, indices, axis=axis)
        return uploaded
