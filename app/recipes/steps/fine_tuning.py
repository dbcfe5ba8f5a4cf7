"""Parameters of fine-tuning."""

from typing import ClassVar, Literal

from app.recipes.steps.base import Need, Transform
from app.recipes.steps.recovery import Recovery


class FineTuning(Transform, Recovery):
    """Train the model as it now is; zeros that pruning made stay zero."""

    technique: Literal["fine_tuning"] = "fine_tuning"
    trains_in_replicas: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TRAINING_DATA, Need.LABELS})

    def training(self) -> Recovery:
        return self
