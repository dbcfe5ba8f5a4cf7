"""The recipes of the structural figures, and the candidates they were chosen from.

`benchmarks.structure.choose` tries the candidates on digits kept aside from training; what is
written here is what it chose. The test split has no part in it.
"""

from typing import Any

Recipe = dict[str, Any]

INT8: Recipe = {"technique": "full_integer_quantization", "calibration_samples": 500}
STUDENT = (400, 400)
STUDENT_EPOCHS = 30


def fast(seed: int) -> Recipe:
    """At most 0.5 points."""
    return narrow(0.75, 12, seed)


def careful(seed: int) -> Recipe:
    """At most 0.2 points."""
    return narrow(0.5, 12, seed, importance="l1")


def half_as_deep(seed: int) -> Recipe:
    """8 of 16 blocks."""
    return shallow(8, 3, seed)


def quarter_as_deep(seed: int) -> Recipe:
    """12 of 16 blocks."""
    return shallow(12, 3, seed)


def narrow(pruning_ratio: float, epochs: int, seed: int, **changes: Any) -> Recipe:
    """Channels taken out, recovery by distillation from the baseline, int8."""
    recovery = {"epochs": epochs, "learning_rate": 0.002, "batch_size": 64, "distill": True}
    pruning = {
        "technique": "channel_pruning",
        "pruning_ratio": pruning_ratio,
        "importance": "taylor",
        "exclude": ["logits"],
        "recovery": recovery,
        **changes,
    }
    return {"seed": seed, "steps": [pruning, INT8]}


def shallow(count: int, epochs: int, seed: int, **changes: Any) -> Recipe:
    """Residual blocks taken out one after another, recovery by distillation."""
    recovery = {"epochs": epochs, "learning_rate": 0.001, "batch_size": 64, "distill": True}
    removal = {
        "technique": "layer_removal",
        "count": count,
        "importance": "greedy",
        "recovery": recovery,
        **changes,
    }
    return {"seed": seed, "steps": [removal]}


def alone(epochs: int, seed: int) -> Recipe:
    """A student that has only the labels."""
    return {"seed": seed, "steps": [{"technique": "fine_tuning", **_long(epochs)}]}


def taught(epochs: int, seed: int, **changes: Any) -> Recipe:
    """The same student, which also hears its teacher."""
    distillation = {
        "technique": "distillation",
        "student": "model",
        "temperature": 20.0,
        "distillation_weight": 0.7,
        **_long(epochs),
        **changes,
    }
    return {"seed": seed, "steps": [distillation]}


def _long(epochs: int) -> Recipe:
    return {"epochs": epochs, "learning_rate": 0.001, "batch_size": 128}
