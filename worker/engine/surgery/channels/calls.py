"""What a rule is given: one call of one layer, with the channels of the tensors it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.engine.surgery.channels.ids import FIXED, IntArray

Shape = tuple[int | None, ...]
# Axis of a tensor -> ids along it. Axes that are not named cannot change their length.
Axes = Mapping[int, IntArray]
# How to reach a value within a layer's configuration: ("layer", "config", "units").
Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph, batch axis first. `ids` never names the batch axis."""

    shape: Shape
    ids: Axes

    @property
    def rank(self) -> int:
        return len(self.shape)

    def along(self, axis: int) -> IntArray:
        """[length of that axis]: its ids; none at all where the length is not known."""
        found = self.ids.get(axis % self.rank)
        return np.full(self.shape[axis] or 0, FIXED) if found is None else found


@dataclass(frozen=True)
class Call:
    """One use of a layer or operation.

    `arguments` and `keywords` are as the layer was called, with a Tensor for each tensor; `inputs`
    are those tensors in a row. `shapes` are those of its outputs. `keys` lead to the configuration
    of `layer` within that of the leaf called `name`: a wrapper holds its layer's.
    """

    name: str
    layer: Any
    inputs: tuple[Tensor, ...]
    shapes: tuple[Shape, ...]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    keys: Keys = ()

    @property
    def given(self) -> Tensor:
        """Its only input, or the first one."""
        return self.inputs[0]


def without(axes: Axes, *dropped: int) -> dict[int, IntArray]:
    return {axis: ids for axis, ids in axes.items() if axis not in dropped}
