"""Finds the spans of a model: layers between two tensors that can be taken out together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import keras

from app.recipes.facts import shape_text
from app.recipes.keras.graph import Ref, Shape
from worker.engine.surgery.spans.kinds import (
    ACTIVATIONS,
    INPUT_SCALINGS,
    NORMALIZATIONS,
    REGULARIZERS,
    effect_of,
    parameters_of,
)
from worker.engine.surgery.spans.lengths import Lengths
from worker.engine.surgery.spans.regions import Region, regions
from worker.engine.surgery.weights import leaves
from worker.engine.surgery.wiring import Call, Level, Structure


@dataclass(frozen=True)
class Span:
    """Layers with one entry and one exit; nothing inside is read from outside.

    `name` is the path of its main layer: of the merge that closes a block, else of the layer with
    the weights. `layers` are the paths of all it takes, in order, nested models unopened;
    `weighted` those of the leaf layers among them that have weights. Shapes have a batch axis;
    `keeps_open` says whether lengths that both leave open are the same.
    """

    name: str
    level: str
    entry: Ref
    exit: Ref
    layers: tuple[str, ...]
    weighted: tuple[str, ...]
    parameter_count: int
    entry_shape: Shape
    exit_shape: Shape
    is_same_type: bool
    keeps_open: bool

    @property
    def is_matching(self) -> bool:
        """Whether its entry can stand in for its exit."""
        is_same_shape = self.entry_shape == self.exit_shape and self.keeps_open
        return self.is_same_type and is_same_shape

    @cached_property
    def taken(self) -> frozenset[str]:
        return frozenset(self.layers)

    @cached_property
    def held(self) -> frozenset[str]:
        """Paths of all layers that go with it, those in nested models too."""
        return frozenset((*self.layers, *self.weighted))

    def lies_in(self, other: "Span") -> bool:
        """Whether the other takes all of it; a nested model takes what is in it."""
        return self.taken <= other.taken or any(
            self.level.startswith(f"{path}/") for path in other.taken
        )


@dataclass(frozen=True)
class Spans:
    """What can be taken out of a model, in the model's order, inner spans before outer ones.

    matching: the exit has the shape of the entry, whose readers can take it instead.
    differing: something has to be put in their place.
    kept: path of each leaf layer with weights that lies in no matching span -> the reason.
    """

    matching: tuple[Span, ...]
    differing: tuple[Span, ...]
    kept: Mapping[str, str]

    def holding(self, path: str) -> Span | None:
        """The smallest span called so or with that layer in it; a matching one before others."""
        for spans in (self.matching, self.differing):
            found = [span for span in spans if path == span.name or path in span.held]
            if found:
                return min(found, key=lambda span: (path != span.name, len(span.held)))
        return None


def removable_spans(model: keras.Model) -> Spans:
    """One span for each merge that closes a block, and for each layer with weights outside blocks.

    A block is a region (`regions.py`) with weights; one that only merges inside another Add's block
    belongs to that. A layer takes along what normalizes or activates it alone. Layers that are used
    twice, and those whose name is that of an output of their level, stay.
    """
    structure, lengths = Structure.of(model), Lengths.of(model)
    matching: list[Span] = []
    differing: list[Span] = []
    kept: dict[str, str] = {}
    for level in structure.levels:
        finder = _Finder(level, structure, lengths)
        for span in finder.spans():
            (matching if span.is_matching else differing).append(span)
        kept.update(finder.kept())
    taken = {path for span in matching for path in span.weighted}
    return Spans(
        matching=tuple(matching),
        differing=tuple(differing),
        kept={path: reason for path, reason in kept.items() if path not in taken},
    )


class _Finder:
    """The spans of one level."""

    def __init__(self, level: Level, structure: Structure, lengths: Lengths) -> None:
        self._level = level
        self._lengths = lengths
        self._wiring = level.wiring
        self._shared = structure.shared
        self._outputs = {ref.layer for ref in level.wiring.outputs}
        self._position = {call: index for index, call in enumerate(level.wiring.calls)}

    def spans(self) -> Iterator[Span]:
        """In the order of their exits."""
        blocks = list(self._blocks())
        hidden = self._hidden_by(blocks)
        plain = [
            span
            for call in self._wiring.calls
            if call[0] not in hidden and (span := self._plain(call))
        ]
        yield from sorted(
            (*blocks, *plain), key=lambda span: self._position[span.exit.layer, span.exit.node]
        )

    def kept(self) -> Iterator[tuple[str, str]]:
        """Every leaf layer with weights that is no span of its own, with the reason."""
        for call in self._wiring.calls:
            operation = self._level.operations[call[0]]
            if isinstance(operation, keras.Model) or not parameters_of(operation):
                continue
            if reason := self._obstacle(call):
                yield f"{self._level.path}{call[0]}", reason

    def _blocks(self) -> Iterator[Span]:
        found = list(regions(self._wiring))
        residual = [region for region in found if self._is_sum(region)]
        sums = [span for region in residual if (span := self._block(region.exit.layer, region))]
        hidden = self._hidden_by(sums)
        yield from sums
        for region in found:
            if not self._is_sum(region) and region.exit.layer not in hidden:
                span = self._block(region.exit.layer, self._without_identity(region))
                if span:
                    yield span

    def _hidden_by(self, blocks: Sequence[Span]) -> set[str]:
        """Names of what is no span of its own, for it lies in one of these blocks.

        A skip from the input over everything is no reason to pass over what it skips.
        """
        inputs = self._wiring.inputs
        return {
            path.removeprefix(self._level.path)
            for block in blocks
            if block.is_matching and block.entry not in inputs
            for path in block.layers
        }

    def _is_sum(self, region: Region) -> bool:
        return type(self._level.operations[region.exit.layer]).__name__ == "Add"

    def _block(self, name: str, region: Region) -> Span | None:
        """The region, and what follows it if the block takes it along."""
        follower = self._only_reader(region.exit)
        if follower and self._repeats(follower, region.entry):
            region = Region(region.entry, self._wiring.made[follower][0], region.calls | {follower})
        return self._span(name, region)

    def _repeats(self, follower: Call, entry: Ref) -> bool:
        """Whether a layer does to a block's sum what was done to the block's entry before it.

        The block then takes it along: relu after relu changes nothing.
        """
        effect = effect_of(self._level.operations[follower[0]])
        is_follower = isinstance(self._level.operations[follower[0]], NORMALIZATIONS + ACTIVATIONS)
        return is_follower and effect == effect_of(self._level.operations[entry.layer])

    def _without_identity(self, region: Region) -> Region:
        """Of a dense block, which joins its entry with what it makes of it: only the latter."""
        merge = (region.exit.layer, region.exit.node)
        others = {ref for ref in self._wiring.calls[merge] if ref != region.entry}
        is_joint = isinstance(self._level.operations[merge[0]], keras.layers.Concatenate)
        if not is_joint or len(others) != 1 or region.entry not in self._wiring.calls[merge]:
            return region
        return Region(region.entry, others.pop(), region.calls - {merge})

    def _plain(self, call: Call) -> Span | None:
        """A layer with weights, and what normalizes or activates it alone.

        Where something is to be put in its place, its activation stays and is put to use there.
        """
        if self._obstacle(call, of_shape=False) or not parameters_of(
            self._level.operations[call[0]]
        ):
            return None
        entry, exit_ = self._wiring.calls[call][0], self._wiring.made[call][0]
        belongs = (
            NORMALIZATIONS + ACTIVATIONS + REGULARIZERS
            if self._shape(entry) == self._shape(exit_)
            else (keras.layers.BatchNormalization,)
        )
        calls = [call]
        while follower := self._only_reader(exit_):
            if not isinstance(self._level.operations[follower[0]], belongs):
                break
            calls.append(follower)
            exit_ = self._wiring.made[follower][0]
        return self._span(call[0], Region(entry, exit_, frozenset(calls)))

    def _only_reader(self, ref: Ref) -> Call | None:
        """The one call that reads a tensor, if it may go: not an output, not shared, one result."""
        readers = self._wiring.readers.get(ref, ())
        if len(readers) != 1 or ref in self._wiring.outputs or not self._may_go(readers[0]):
            return None
        is_single = len(set(self._wiring.calls[readers[0]])) == 1
        return readers[0] if is_single and len(self._wiring.made[readers[0]]) == 1 else None

    def _may_go(self, call: Call) -> bool:
        is_shared = id(self._level.operations[call[0]]) in self._shared
        return not is_shared and call[0] not in self._outputs

    def _span(self, name: str, region: Region) -> Span | None:
        """None where one of the layers has to stay, or none has weights."""
        if not all(self._may_go(call) for call in region.calls):
            return None
        names = [call[0] for call in sorted(region.calls, key=self._position.__getitem__)]
        weighted = tuple(path for name in names for path in self._weighted(name))
        if not weighted:
            return None
        entry, exit_ = (self._level.tensors[ref] for ref in (region.entry, region.exit))
        return Span(
            name=f"{self._level.path}{name}",
            level=self._level.path,
            entry=region.entry,
            exit=region.exit,
            layers=tuple(f"{self._level.path}{name}" for name in names),
            weighted=weighted,
            parameter_count=sum(parameters_of(self._level.operations[name]) for name in names),
            entry_shape=self._lengths.shape(entry),
            exit_shape=self._lengths.shape(exit_),
            is_same_type=entry.dtype == exit_.dtype,
            keeps_open=self._lengths.keeps_open(entry, exit_),
        )

    def _weighted(self, name: str) -> Iterator[str]:
        """Paths of the leaf layers with weights that this one is or holds."""
        operation, path = self._level.operations[name], f"{self._level.path}{name}"
        inner = leaves(operation) if isinstance(operation, keras.Model) else ()
        yield from (f"{path}/{leaf.name}" for leaf in inner if leaf.layer.weights)
        if not inner and parameters_of(operation):
            yield path

    def _shape(self, ref: Ref) -> Shape:
        return self._lengths.shape(self._level.tensors[ref])

    def _obstacle(self, call: Call, *, of_shape: bool = True) -> str | None:
        """What keeps a layer from being a span of its own."""
        operation, fed, made = (
            self._level.operations[call[0]],
            set(self._wiring.calls[call]),
            self._wiring.made[call],
        )
        if id(operation) in self._shared:
            return "it is shared: used more than once"
        if call[0] in self._outputs:
            return "it is an output of the model, whose name would be lost"
        if isinstance(operation, INPUT_SCALINGS):
            return "it scales an input"
        if isinstance(operation, NORMALIZATIONS + ACTIVATIONS + REGULARIZERS):
            return (
                "it belongs to what comes before it: it would go together with a layer or block "
                "that can go, and with none it does"
            )
        if len(fed) != 1 or len(made) != 1:
            return f"it has {len(fed)} inputs and {len(made)} outputs"
        if not of_shape:
            return None
        before, after = self._shape(next(iter(fed))), self._shape(made[0])
        if before != after:
            return f"it makes {shape_text(after[1:])} of {shape_text(before[1:])}"
        tensors = (self._level.tensors[ref] for ref in (next(iter(fed)), made[0]))
        return None if self._lengths.keeps_open(*tensors) else "it changes a length left open"
