"""Takes a model back to the weights it was uploaded with, as far as they survive in it."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from numpy.typing import NDArray

from worker.engine.initializing.taking import Taken
from worker.engine.surgery.lineage import Lineage
from worker.engine.surgery.weights import Leaf, named_weights

Array = NDArray[Any]


def rewound_weights(uploaded: keras.Model, chosen: Iterable[Leaf], lineage: Lineage) -> Taken:
    """The uploaded weights of the chosen layers, without the channels that were taken out since.

    Layers of a model that descends from `uploaded` are found there by their names. One with a
    weight that is not the uploaded model's stays as it is: half of a layer would compute neither
    what it did nor what it does.
    """
    stored = {name: weight.numpy() for name, weight in named_weights(uploaded).items()}
    values: dict[str, Array] = {}
    whole: dict[str, str] = {}
    sliced: dict[str, str] = {}
    left: dict[str, str] = {}
    for leaf in chosen:
        names = tuple(leaf.weights())
        reasons = [lineage.foreign[name] for name in names if name in lineage.foreign]
        if reasons:
            left[leaf.name] = reasons[0]
        elif names:
            values |= _survivors(names, stored, lineage)
            is_cut = any(name in lineage.entries for name in names)
            (sliced if is_cut else whole)[leaf.name] = leaf.name
    return Taken(values, whole, sliced, left)


def _survivors(
    names: Iterable[str], stored: Mapping[str, Array], lineage: Lineage
) -> dict[str, Array]:
    return {name: lineage.survivors(name, stored[name]) for name in names}
