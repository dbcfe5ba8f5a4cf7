"""A student before it learns, and how it came by its weights."""

from dataclasses import dataclass, field
from typing import Any

import keras

from app.reports.report import SkippedLayer
from worker.engine.context import Masks
from worker.engine.surgery.lineage import KeptAxes


@dataclass(frozen=True)
class Student:
    """`masks` are what is left of earlier pruning; `facts` are plain values for the report.

    `kept` is what is left along the axes of the weights of the model that it was made of.
    """

    model: keras.Model
    masks: Masks
    facts: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[SkippedLayer, ...] = ()
    kept: KeptAxes = field(default_factory=dict)
