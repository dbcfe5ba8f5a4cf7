"""Which layer of one model corresponds to which layer of another: by name, else by order; pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]

# For the best alignment: two layers that fit after slicing are worth more than one that fits as is.
EXACT, SLICED = 3, 2


@dataclass(frozen=True)
class LayerShapes:
    """A layer with weights: its path, its Keras class, its weights' own names with their shapes."""

    path: str
    kind: str
    shapes: Mapping[str, Shape]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def has_own_name(self) -> bool:
        """Whether somebody named it; `dense_1` only says how many Dense were made before."""
        return re.fullmatch(rf"{self.kind.lower()}\d*", self.name.replace("_", "")) is None


def fit(ours: LayerShapes, theirs: LayerShapes) -> int:
    """EXACT, SLICED if no axis of ours is longer than theirs, 0 where neither is so."""
    if ours.kind != theirs.kind or ours.shapes.keys() != theirs.shapes.keys():
        return 0
    pairs = [(shape, theirs.shapes[name]) for name, shape in ours.shapes.items()]
    if all(own == other for own, other in pairs):
        return EXACT
    is_within = all(
        len(own) == len(other) and all(a <= b for a, b in zip(own, other, strict=True))
        for own, other in pairs
    )
    return SLICED if is_within else 0


def pair_layers(ours: Sequence[LayerShapes], theirs: Sequence[LayerShapes]) -> dict[str, str]:
    """Path of each of our layers that has a counterpart -> path of that one; each is used once.

    First by names that somebody gave, where the layer fits. Names that Keras made up only count
    layers made before, and go on counting in the next model: they are used, where shapes are equal,
    if every one of ours has its counterpart or all pairs come in the same order in both models.
    What is left is paired in order: the alignment that fits most.
    """
    given = dict(_by_name([layer for layer in ours if layer.has_own_name], ours, theirs))
    numbered = [layer for layer in ours if not layer.has_own_name]
    counted = dict(_by_name(numbered, ours, theirs))
    pairs = _completed(given | counted, ours, theirs)
    if len(counted) == len(numbered) or _keeps_order(pairs, given, ours, theirs):
        return pairs
    return _completed(given, ours, theirs)


def _completed(
    pairs: Mapping[str, str], ours: Sequence[LayerShapes], theirs: Sequence[LayerShapes]
) -> dict[str, str]:
    """These pairs, and what is left of both in order."""
    used = set(pairs.values())
    left = [layer for layer in ours if layer.path not in pairs]
    free = [layer for layer in theirs if layer.path not in used]
    return dict(pairs) | dict(_in_order(left, free))


def _keeps_order(
    pairs: Mapping[str, str],
    given: Mapping[str, str],
    ours: Sequence[LayerShapes],
    theirs: Sequence[LayerShapes],
) -> bool:
    """Whether the pairs, but for the `given` ones, follow each other alike in both models."""
    places = {layer.path: place for place, layer in enumerate(theirs)}
    found = [
        places[pairs[layer.path]]
        for layer in ours
        if layer.path in pairs and layer.path not in given
    ]
    return found == sorted(found)


def _by_name(
    named: Sequence[LayerShapes], ours: Sequence[LayerShapes], theirs: Sequence[LayerShapes]
) -> Iterator[tuple[str, str]]:
    """Pairs of those of our layers that are `named`."""
    by_path = {layer.path: layer for layer in theirs}
    by_name = {layer.name: layer for layer in theirs}
    is_unique = len(by_name) == len(theirs) and len({layer.name for layer in ours}) == len(ours)
    for layer in named:
        other = by_path.get(layer.path) or (by_name.get(layer.name) if is_unique else None)
        if other is None:
            continue
        how = fit(layer, other)
        if how == EXACT or (how == SLICED and layer.has_own_name):
            yield layer.path, other.path


def _in_order(
    ours: Sequence[LayerShapes], theirs: Sequence[LayerShapes]
) -> Iterator[tuple[str, str]]:
    """The alignment of two sequences with the highest sum of fits (Needleman & Wunsch 1970)."""
    best = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for row in reversed(range(len(ours))):
        for column in reversed(range(len(theirs))):
            how = fit(ours[row], theirs[column])
            paired = how + best[row + 1][column + 1] if how else 0
            best[row][column] = max(paired, best[row + 1][column], best[row][column + 1])
    row = column = 0
    while row < len(ours) and column < len(theirs):
        how = fit(ours[row], theirs[column])
        if how and best[row][column] == how + best[row + 1][column + 1]:
            yield ours[row].path, theirs[column].path
            row, column = row + 1, column + 1
        elif best[row][column] == best[row + 1][column]:
            row += 1
        else:
            column += 1
