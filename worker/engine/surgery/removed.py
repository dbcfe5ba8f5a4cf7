"""What surgery leaves."""

from dataclasses import dataclass

import keras

from worker.engine.context import Masks


@dataclass(frozen=True, eq=False)
class Removed:
    """A smaller model, and the masks of the weights that it still has, in their new shapes."""

    model: keras.Model
    masks: Masks
