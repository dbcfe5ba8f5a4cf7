"""What surgery leaves."""

from dataclasses import dataclass, field

import keras

from worker.engine.context import Masks
from worker.engine.surgery.lineage import KeptAxes


@dataclass(frozen=True, eq=False)
class Removed:
    """A smaller model, and the masks of the weights that it still has, in their new shapes.

    `kept` is what is left along the axes of weights that it still has.
    """

    model: keras.Model
    masks: Masks
    kept: KeptAxes = field(default_factory=dict)
