"""What the small networks share."""

from collections.abc import Callable
from typing import Any

import keras

layers = keras.layers
Net = Callable[[], Any]
Counts = dict[str, int]

PICTURE, SEQUENCE = (8, 8, 3), (6, 5)


def chain(shape: tuple[int, ...], *parts: Any, dtype: str = "float32") -> Any:
    """Layers one after the other, ending in a Dense of 3 called `classes`."""
    return keras.Sequential(
        [keras.Input(shape, dtype=dtype), *parts, layers.Dense(3, name="classes")]
    )
