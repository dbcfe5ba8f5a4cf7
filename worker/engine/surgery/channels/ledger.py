"""What the rules write down while a model is walked through."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call, Keys, Tensor, without
from worker.engine.surgery.channels.ids import FIXED, Ids, IntArray

Role = Literal["output", "input"]

# A part of a layer that makes channels: ("attention", "") its output, ("attention", "heads").
Source = tuple[str, str]


@dataclass(frozen=True)
class Binding:
    """Axis of a weight that goes with channels; `ids`: [length of the axis]."""

    weight: str
    axis: int
    ids: IntArray
    role: Role
    kind: str


class Ledger:
    """The ids of a model and all that goes with them, gathered call by call.

    A layer called twice has one set of weights: what it binds the second time becomes one with what
    it bound the first time.
    """

    def __init__(self, layer_names: Mapping[int, str], weight_names: Mapping[int, str]) -> None:
        """Stable names by `id` of the layer or weight, in the model's order."""
        self.ids = Ids()
        self.bindings: dict[tuple[str, int], Binding] = {}
        self.sizes: dict[tuple[str, Keys], IntArray] = {}
        self.sources: dict[Source, IntArray] = {}
        self.refused: dict[str, str] = {}
        self.renormalized: dict[str, IntArray] = {}
        self._layer_names = layer_names
        self._weight_names = weight_names

    def path(self, layer: Any, level: str) -> str:
        """Stable name of a layer or operation of the model whose path is `level`."""
        return self._layer_names.get(id(layer), f"{level}{layer.name}")

    def in_order(self) -> dict[Source, IntArray]:
        """What makes channels, in the model's order: it is walked through in another one."""
        places = {name: place for place, name in enumerate(self._layer_names.values())}
        return dict(sorted(self.sources.items(), key=lambda source: places[source[0][0]]))

    def new(self, call: Call, count: int, part: str = "") -> IntArray:
        """[count] channels that this layer makes; the same ones at every call."""
        source = (call.name, part)
        if source not in self.sources:
            self.sources[source] = self.ids.new(count)
        return self.sources[source]

    def bind(
        self, call: Call, weight: keras.Variable | None, axis: int, ids: IntArray, role: Role
    ) -> None:
        """An axis of a weight goes with these channels. A layer without that weight has None."""
        if weight is None:
            return
        key = (self._weight_names[id(weight)], axis % len(weight.shape))
        bound = self.bindings.get(key)
        if bound is not None:
            ids = self.ids.unite(
                bound.ids, ids, f"{call.name!r} is shared: it reads other channels"
            )
        self.bindings[key] = Binding(*key, ids, role, f"{type(call.layer).__name__}.{weight.name}")

    def size(self, call: Call, keys: Keys, ids: IntArray) -> None:
        """A number in the layer's configuration: how many of these entries there are."""
        key = (call.name, (*call.keys, *keys))
        if key in self.sizes:
            ids = self.ids.unite(
                self.sizes[key], ids, f"{call.name!r} is shared: its size is given"
            )
        self.sizes[key] = ids

    def stop(self, call: Call, ids: IntArray, why: str) -> None:
        """These channels have to stay because of what this layer does with them."""
        self.ids.stop(ids, f"its channels reach {call.name!r}: {why}")

    def only(self, call: Call, tensor: Tensor, axes: set[int], why: str) -> dict[int, IntArray]:
        """The ids along these axes; channels along any other have to stay."""
        for axis, ids in tensor.ids.items():
            if axis not in axes:
                self.stop(call, ids, why)
        return {axis: ids for axis, ids in tensor.ids.items() if axis in axes}

    def only_last(self, call: Call, tensor: Tensor) -> dict[int, IntArray]:
        return self.only(call, tensor, {tensor.rank - 1}, "it works along an axis they lie on")

    def pass_over(self, call: Call, count: int, names: Collection[str]) -> None:
        """Tensors stay as they are, but for the first `count` arguments and those of these names.

        Of one tensor alone, there is none to pass over, however it is given.
        """
        others = [value for name, value in call.keywords.items() if name not in names]
        for item in keras.tree.flatten((call.arguments[count:], others)):
            if isinstance(item, Tensor) and len(call.inputs) > 1:
                self.only(call, item, set(), "it is given them beside its data, as a mask is")

    def refuse(self, call: Call, why: str) -> list[Axes]:
        """The layer is not understood: all that it reads stays, nothing that it makes can go."""
        for tensor in call.inputs:
            self.only(call, tensor, set(), why)
        if call.inputs and (any(tensor.ids for tensor in call.inputs) or _has_kernel(call.layer)):
            self.refused.setdefault(call.name, why)
        return [{} for _ in call.shapes]

    def renormalize(self, call: Call, ids: IntArray) -> None:
        """The layer computes statistics over these channels: over fewer of them they are others."""
        before = self.renormalized.get(call.name, ids[:0])
        self.renormalized[call.name] = np.concatenate([before, ids])


def replaced(axes: Axes, axis: int, ids: IntArray) -> dict[int, IntArray]:
    """The ids with those of one axis put in place; an axis on which nothing can go is left out."""
    others = without(axes, axis)
    return others if (ids == FIXED).all() else {**others, axis: ids}


def _has_kernel(layer: Any) -> bool:
    return any(len(weight.shape) > 1 for weight in getattr(layer, "weights", ()))
