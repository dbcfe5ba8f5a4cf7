"""How far a student's answers are from its teachers': means over rows, positions and units."""

from typing import Any, Literal

from keras import ops

from app.recipes.task import TaskKind

SoftLoss = Literal["kl", "mse", "cosine"]
LEAST_NORM = 0.1


def soft_loss(
    kind: TaskKind, loss: SoftLoss, temperature: float, teacher: Any, student: Any
) -> Any:
    """The soft loss of one output.

    teacher, student: logits, [rows, ..., units]; values in regression, which are compared by
    squared error whatever `loss` and `temperature` say.
    """
    if kind is TaskKind.REGRESSION:
        return squared_error(teacher, student)
    if loss == "kl":
        is_softmax = kind is TaskKind.CLASSIFICATION
        divergence = softmax_divergence if is_softmax else sigmoid_divergence
        return divergence(teacher, student, temperature)
    if kind is TaskKind.CLASSIFICATION:
        teacher, student = centered(teacher), centered(student)
    return squared_error(teacher, student) if loss == "mse" else cosine_distance(teacher, student)


def softmax_divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """T^2 KL(p || q) with p, q = softmax(logits / T) (Hinton et al. 2015, arXiv:1503.02531, 2).

    T^2: gradients of soft targets scale as 1 / T^2, and are to weigh the same at every T.
    """
    log_p = ops.log_softmax(teacher / temperature, axis=-1)
    log_q = ops.log_softmax(student / temperature, axis=-1)
    return temperature**2 * ops.mean(ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1))


def sigmoid_divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """The same for two outcomes, p = sigmoid(logit / T), as a mean over units."""
    t, s = teacher / temperature, student / temperature
    on = ops.sigmoid(t) * (ops.log_sigmoid(t) - ops.log_sigmoid(s))
    off = ops.sigmoid(-t) * (ops.log_sigmoid(-t) - ops.log_sigmoid(-s))
    return temperature**2 * ops.mean(on + off)


def squared_error(teacher: Any, student: Any) -> Any:
    return ops.mean(ops.square(teacher - student))


def cosine_distance(teacher: Any, student: Any) -> Any:
    """1 - cosine over the units, in [0, 2]; a student's norm below `LEAST_NORM` counts as that.

    The slope of a cosine is as 1 / norm: a student that starts at zeros would leap.
    """
    squares = ops.sum(ops.square(student), axis=-1, keepdims=True)
    direction = student / ops.sqrt(ops.maximum(squares, LEAST_NORM**2))
    return ops.mean(1 - ops.sum(ops.normalize(teacher, axis=-1) * direction, axis=-1))


def centered(logits: Any) -> Any:
    """Class logits mean the same whatever constant is added to a row: its mean is taken off."""
    return logits - ops.mean(logits, axis=-1, keepdims=True)
