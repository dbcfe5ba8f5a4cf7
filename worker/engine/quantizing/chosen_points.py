"""Which points of a model have ranges where some layers are to compute in float."""

from collections.abc import Callable, Iterator, Sequence

from app.recipes.keras.graph import Ref
from worker.engine.quantizing.kinds import Kind, kind_of
from worker.engine.quantizing.points import Place, Point, origin_of
from worker.engine.surgery.wiring import Level

Selects = Callable[[str], bool]


def chosen_points(
    levels: Sequence[Level], points: Sequence[Point], selects: Selects
) -> tuple[Point, ...]:
    """The points with ranges, where only layers that `selects` names compute in integers.

    An operator computes in integers where what goes in and what comes out has a range. So a tensor
    has one if its layer is selected; or if a layer that reads it is, and its own has no range to
    start from. Inputs have one if they are read by a layer that is selected.
    """
    by_path = {level.path: level for level in levels}
    chosen: list[Point] = []
    ranged: set[tuple[str, Ref]] = set()
    for point in points:
        level = by_path[point.level]
        if _is_chosen(level, point, ranged, selects):
            chosen.append(point)
            if point.place is Place.AFTER:
                ranged.add((point.level, point.ref))
    return tuple(chosen)


def _is_chosen(level: Level, point: Point, ranged: set[tuple[str, Ref]], selects: Selects) -> bool:
    is_input = point.ref in level.wiring.inputs
    if not is_input and selects(point.layer):
        return True
    if point.place is Place.BEFORE_ACTIVATION:
        return False
    fed = level.wiring.calls.get((point.ref.layer, point.ref.node), ())
    starts_ranged = any((level.path, origin_of(level, ref)) in ranged for ref in fed)
    return not starts_ranged and any(map(selects, _readers(level, point.ref)))


def _readers(level: Level, ref: Ref) -> Iterator[str]:
    """The layers that compute with a tensor, looked for behind those that only pass it on."""
    for call in level.wiring.readers.get(ref, ()):
        if kind_of(level.operations[call[0]]) is Kind.KEEPS_RANGE:
            for made in level.wiring.made.get(call, ()):
                yield from _readers(level, made)
        else:
            yield call[0]
