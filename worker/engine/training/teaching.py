"""What teachers add to a student's loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from app.errors import StepFailed
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.training.soft_losses import SoftLoss
from worker.engine.training.teachers import model_fingerprint


@dataclass(frozen=True)
class Teaching:
    """Teachers, and how their answers are weighed against the labels.

    The loss is (1 - distillation_weight) * hard + distillation_weight * soft
    + feature_weight * features. A `kl` soft loss is multiplied by temperature squared (Hinton et
    al. 2015, arXiv:1503.02531, section 2); `mse` and `cosine` compare logits, and read no
    temperature. Several teachers count by the mean of their logits, which is the geometric mean of
    what they predict. `features` are pairs of layer names (student's, teacher's) whose outputs are
    compared as well (Romero et al. 2015, arXiv:1412.6550).
    """

    teachers: Sequence[keras.Model]
    temperature: float = 4.0
    distillation_weight: float = 0.5
    soft_loss: SoftLoss = "kl"
    features: Sequence[tuple[str, str]] = ()
    feature_weight: float = 1.0

    def fingerprint(self) -> str:
        """The same where the same is taught by models that compute the same."""
        said = [
            self.temperature,
            self.distillation_weight,
            self.soft_loss,
            list(self.features),
            self.feature_weight,
            *map(model_fingerprint, self.teachers),
        ]
        return repr(said)


def asked_teaching(options: Recovery, context: StepContext) -> Teaching | None:
    """Teaching by `teacher_model_ids` where `distill` is on.

    Where none is named: by the uploaded model, or the one the step was given if it is better.

    Raises: StepFailed if there is no such model; ModelNotLoadable.
    """
    if not options.distill:
        return None
    if options.teacher_model_ids:
        teachers = [context.load_model(model_id) for model_id in options.teacher_model_ids]
    elif context.better_teacher is not None:
        teachers = [context.better_teacher]
    elif context.baseline is not None:
        teachers = [context.baseline]
    else:
        raise StepFailed(
            "distill is on, but the uploaded model is none that Keras can run",
            hint="Name a Keras model in teacher_model_ids.",
        )
    return Teaching(teachers, options.temperature, options.distillation_weight)
