"""Numbers of a layer that have a kind: whole ones, shares, and none that are infinite."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from app.uploads.inspector.keras.sizes import EXTENTS, OTHER_WEIGHTS, PADDING, REPEATS, WEIGHTS
from app.uploads.inspector.keras.walk import Spot, refused
from app.uploads.inspector.shown import shown

RATES = ("rate", "dropout", "recurrent_dropout")
# A histogram may be told its bins by their edges.
EDGES = "bins"


def _fields(groups: Iterable[tuple[str, ...]]) -> frozenset[str]:
    return frozenset(field for group in groups for field in group)


WHOLE = (
    _fields(OTHER_WEIGHTS).union(*(_fields(products) for products in WEIGHTS.values()))
    | _fields(EXTENTS)
    | REPEATS
    | frozenset(PADDING)
    | frozenset({"k", "num_classes", "pool_size", "repeats"})
) - {EDGES}


def check_numbers(spot: Spot) -> None:
    """Of one layer or operation.

    Raises: RejectedUpload.
    """
    config = spot.value["config"]
    for key in WHOLE & config.keys():
        if any(isinstance(value, float) for value in _leaves(config[key])):
            raise _wrong(spot, key, "a whole number belongs there")
    for key in RATES:
        if key in config and not _is_share(config[key]):
            raise _wrong(spot, key, "a number from 0 to 1 belongs there")
    if spot.value["class_name"] == "Discretization" and not config.get("bin_boundaries"):
        raise _wrong(
            spot,
            "bin_boundaries",
            "the bins belong there",
            "Let the layer adapt() to data, or give it bin_boundaries, before the model is saved.",
        )


def _leaves(value: Any) -> Iterator[Any]:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            pending.extend(one)
        else:
            yield one


def _is_share(value: Any) -> bool:
    """Keras takes 1 as well: everything is dropped."""
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1


def _wrong(spot: Spot, key: str, why: str, hint: str | None = None) -> Exception:
    config, kind = spot.value["config"], spot.value["class_name"]
    return refused(
        spot,
        f"{shown(kind)[1:-1]} {shown(config.get('name'))} has {key}={shown(config.get(key))}; "
        f"{why}",
        hint or "Save the model with a value that Keras takes, and check that it loads.",
    )
