"""The channels of a model in groups: what can be taken out, and all that goes with it."""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.reports.report import SkippedLayer
from worker.engine.surgery.channels.calls import Keys
from worker.engine.surgery.channels.ids import FIXED, Classes, IntArray
from worker.engine.surgery.channels.ledger import Ledger, Role, Source

BoolArray = NDArray[np.bool_]

# Group name -> [count], True for the units that stay. A group that is not named stays whole.
Keep = Mapping[str, BoolArray]


@dataclass(frozen=True, eq=False)
class Slice:
    """An axis of a weight, and the unit that each entry along it belongs to.

    `units`: [length of the axis], -1 where the entry is not of this group. `role` is "output"
    where the channels are made or pass (kernel's output axis, bias, gamma, depthwise kernel),
    "input" where they are summed over: with those rows at zero, the channels might as well not be.
    """

    weight: str
    axis: int
    units: IntArray
    role: Role


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Units of which each one can be taken out alone, with its slice of every weight in `slices`.

    A unit is a channel with all that are one with it, a head, a recurrent unit, or a group of a
    normalization. `name` is that of the first layer in `producers`, with the part of it that is
    meant if it has several (`attention:heads`). `structure` is equal for groups that are made and
    read by the same kinds of layers.
    """

    name: str
    producers: tuple[str, ...]
    count: int
    slices: tuple[Slice, ...]
    structure: Hashable


@dataclass(frozen=True, eq=False)
class Size:
    """A number in a layer's configuration that counts entries; each is of a unit, or stays (-1)."""

    layer: str
    keys: Keys
    groups: IntArray
    units: IntArray


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """What can be taken out of a model.

    `frozen` names the layers whose outputs, or parts of them, cannot shrink, and why.
    `renormalized` names those whose statistics run over channels (layer normalization and its
    like): without some channels they compute something else, namely what they would have if those
    channels had never been.
    """

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[SkippedLayer, ...]
    renormalized: tuple[str, ...]
    sizes: tuple[Size, ...]

    @cached_property
    def by_name(self) -> Mapping[str, ChannelGroup]:
        return {group.name: group for group in self.groups}


def grouped(ledger: Ledger) -> ChannelGraph:
    """Sorts all channels that nothing holds back into groups of the same producers."""
    classes = ledger.ids.classes()
    made = ledger.in_order()
    sources = list(made)
    members = _Members.of(classes, list(made.values()))
    names = _names([sources[made_by[0]] for made_by in members.producers])
    slices: list[list[Slice]] = [[] for _ in names]
    kinds: list[Counter[tuple[str, int, Role]]] = [Counter() for _ in names]
    for bound in ledger.bindings.values():
        groups, units = members.of_each(bound.ids)
        for group in np.unique(groups[groups >= 0]):
            own = np.where(groups == group, units, FIXED)
            slices[group].append(Slice(bound.weight, bound.axis, own, bound.role))
            kinds[group][bound.kind, bound.axis, bound.role] += 1
    return ChannelGraph(
        groups=tuple(
            ChannelGroup(
                name=name,
                producers=tuple(dict.fromkeys(sources[source][0] for source in made_by)),
                count=count,
                slices=tuple(own),
                structure=tuple(sorted(of_kind.items())),
            )
            for name, made_by, count, own, of_kind in zip(
                names, members.producers, members.counts, slices, kinds, strict=True
            )
        ),
        frozen=tuple(_frozen(ledger, classes)),
        renormalized=tuple(
            name
            for name, ids in ledger.renormalized.items()
            if (members.of_each(ids)[0] >= 0).any()
        ),
        sizes=tuple(
            Size(layer, keys, *members.of_each(ids)) for (layer, keys), ids in ledger.sizes.items()
        ),
    )


@dataclass(frozen=True, eq=False)
class _Members:
    """Which group and which unit of it each id became.

    `producers`: for each group, the indices of the sources that make it.
    """

    classes: Classes
    group_of: IntArray
    unit_of: IntArray
    producers: list[tuple[int, ...]]
    counts: list[int]

    @classmethod
    def of(cls, classes: Classes, made: list[IntArray]) -> "_Members":
        count = len(classes.labels)
        group_of, unit_of = np.full(count, FIXED), np.full(count, FIXED)
        found: dict[tuple[int, ...], list[int]] = {}
        for label, sources in _sources_of_classes(classes, made):
            found.setdefault(sources, []).append(label)
        for group, labels in enumerate(found.values()):
            group_of[labels] = group
            unit_of[labels] = np.arange(len(labels))
        counts = [len(labels) for labels in found.values()]
        return cls(classes, group_of, unit_of, list(found), counts)

    def of_each(self, ids: IntArray) -> tuple[IntArray, IntArray]:
        """Group and unit of each id, -1 for those that stay."""
        labels = self.classes.labels[ids]
        there = ids != FIXED
        return (
            np.where(there, self.group_of[labels], FIXED),
            np.where(there, self.unit_of[labels], FIXED),
        )


def _sources_of_classes(
    classes: Classes, made: list[IntArray]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every class that may go, by its label, with the sources that make its channels."""
    source_of = np.empty(len(classes.labels), np.int64)
    for source, ids in enumerate(made):
        source_of[ids] = source
    free = classes.stops == -1
    pairs = np.unique(classes.labels[free] * len(made) + source_of[free])
    labels, sources = np.divmod(pairs, max(len(made), 1))
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    for start, of_one in zip(starts, np.split(sources, starts[1:]), strict=False):
        yield int(labels[start]), tuple(of_one.tolist())


def _names(firsts: list[Source]) -> list[str]:
    """A layer may be the first of several groups, if not all its channels go the same way."""
    seen: Counter[str] = Counter()
    names = []
    for layer, part in firsts:
        name = f"{layer}:{part}" if part else layer
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}:{seen[name]}")
    return names


def _frozen(ledger: Ledger, classes: Classes) -> Iterator[SkippedLayer]:
    for (layer, part), ids in ledger.in_order().items():
        stops = classes.stops[ids]
        stopped = stops[stops >= 0]
        if stopped.size:
            reason = ledger.ids.reasons[stopped.min()]
            yield SkippedLayer(
                layer=f"{layer}:{part}" if part else layer,
                reason=reason
                if stopped.size == ids.size
                else f"{stopped.size} of its {ids.size} channels stay: {reason}",
            )
    for layer, reason in ledger.refused.items():
        yield SkippedLayer(layer=layer, reason=reason)
