"""What teachers add to a student's loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import keras


@dataclass(frozen=True)
class Teaching:
    """Teachers, and how their answers are weighed against the labels.

    The loss is (1 - distillation_weight) * hard + distillation_weight * soft; a `kl` soft loss is
    multiplied by temperature squared (Hinton et al. 2015, arXiv:1503.02531, section 2). `features`
    are pairs of layer names (student's, teacher's) whose outputs are compared as well.
    """

    teachers: Sequence[keras.Model]
    temperature: float = 4.0
    distillation_weight: float = 0.5
    soft_loss: Literal["kl", "mse", "cosine"] = "kl"
    features: Sequence[tuple[str, str]] = ()
    feature_weight: float = 1.0
