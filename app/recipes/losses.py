"""Which losses fit which kind of output, and what more they ask of it; pure."""

from collections.abc import Iterator, Mapping

from app.recipes.facts import LabelArray
from app.recipes.task import Task, TaskKind

# Of values, or of probabilities from the 0 and 1 of the labels.
DISTANCES = frozenset({"mean_squared_error", "mean_absolute_error", "huber", "log_cosh"})
OVERLAPS = frozenset({"dice", "tversky"})
OF_TWO_OUTCOMES = frozenset(
    {"binary_crossentropy", "binary_focal_crossentropy", "hinge", "squared_hinge"}
)
OF_CLASSES = frozenset(
    {
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "kl_divergence",
    }
)
OF_VALUES = frozenset(
    {
        "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error",
        "poisson",
        "cosine_similarity",
    }
)
FITTING_LOSSES: Mapping[TaskKind, frozenset[str]] = {
    TaskKind.CLASSIFICATION: DISTANCES | OVERLAPS | OF_CLASSES,
    TaskKind.BINARY_CLASSIFICATION: DISTANCES | OVERLAPS | OF_TWO_OUTCOMES,
    TaskKind.MULTI_LABEL: DISTANCES | OVERLAPS | OF_TWO_OUTCOMES,
    TaskKind.REGRESSION: DISTANCES | OF_VALUES,
}
# What Keras calls them for short, and where it spells them in another way.
ALIASES: Mapping[str, str] = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
}
# Their logarithm is of the labels, or they count events.
OF_NO_NEGATIVES = frozenset({"mean_squared_logarithmic_error", "poisson"})
# Those whose targets may be smoothed.
SMOOTHED = frozenset(
    {
        "auto",
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "binary_crossentropy",
        "binary_focal_crossentropy",
    }
)


def full_name(loss: object) -> object:
    """A loss by its own name; what is no alias stays as it is. Keras also takes MSE for mse."""
    return ALIASES.get(loss.lower(), loss) if isinstance(loss, str) else loss


def loss_obstacles(loss: str, task: Task, labels: LabelArray) -> Iterator[str]:
    """Why a loss cannot be used on this output with these labels; `auto` always can."""
    if loss == "auto":
        return
    where = f"output {task.output!r}"
    if loss not in FITTING_LOSSES[task.kind]:
        allowed = ", ".join(["auto", *sorted(FITTING_LOSSES[task.kind])])
        yield f"{loss} does not fit {where} ({task.kind}). Allowed: {allowed}"
    elif loss in OF_NO_NEGATIVES and labels.minimum < 0:
        yield f"{loss} takes no negative values; the labels of {where} reach {labels.minimum:g}"
    elif loss == "cosine_similarity" and labels.shape[-1:] in ((), (1,)):
        yield f"{loss} compares directions; the labels of {where} are single numbers"
