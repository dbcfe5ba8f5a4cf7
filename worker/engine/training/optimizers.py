"""Optimizers and learning rates as a training asks for them."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from app.recipes.steps.recovery import Recovery
from worker.engine.training.gradients.optimizer import PARAMETERS, GradientQuantizingOptimizer

OPTIMIZERS: Mapping[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "adafactor": keras.optimizers.Adafactor,
    "ftrl": keras.optimizers.Ftrl,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
}
SGD_MOMENTUM = 0.9
# What an exponential decay leaves of the peak at the end: it never comes to 0.
EXPONENTIAL_END = 0.01
# Share of the steps that `flat_cosine` stays at the peak.
FLAT_SHARE = 0.5

# Of the optimizer step, counted from 0.
Schedule = Callable[[Any], Any]


def optimizer(
    options: Recovery, steps: int, seed: int = 0, rank: int = 0
) -> keras.optimizers.Optimizer:
    """A new optimizer for a training of so many steps.

    `seed` and `rank`, the number of the process among those that train together, decide how
    gradients are rounded by chance.
    """
    given: dict[str, Any] = {
        "momentum": SGD_MOMENTUM if options.optimizer == "sgd" else None,
        "weight_decay": options.weight_decay,
        "global_clipnorm": options.gradient_clip_norm,
        "clipvalue": options.gradient_clip_value,
    }
    made = OPTIMIZERS[options.optimizer](
        learning_rate=learning_rate(options, steps),
        **{name: value for name, value in given.items() if value is not None},
    )
    if coding := options.gradient_quantization:
        asked = {name: getattr(coding, name) for name in PARAMETERS}
        made = GradientQuantizingOptimizer(made, seed=seed, rank=rank, **asked)
    # float16 gradients below 6e-8 are 0: the loss is scaled up, and the gradients down again.
    return keras.optimizers.LossScaleOptimizer(made) if options.dtype == "mixed_float16" else made


def learning_rate(options: Recovery, steps: int) -> Schedule | float:
    """The learning rate over a training of so many steps, warm-up included."""
    after = max(1, steps - options.warmup_steps)
    decay = _decay(options, after)
    if not options.warmup_steps:
        return decay
    return WarmUp(options.learning_rate, options.warmup_steps, decay)


def _decay(options: Recovery, steps: int) -> Schedule | float:
    peak = options.learning_rate
    if options.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(peak, decay_steps=steps)
    if options.schedule == "flat_cosine":
        flat = round(FLAT_SHARE * steps)
        return FlatThen(
            peak, flat, keras.optimizers.schedules.CosineDecay(peak, max(1, steps - flat))
        )
    if options.schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(peak, steps, end_learning_rate=0.0)
    if options.schedule == "exponential":
        return keras.optimizers.schedules.ExponentialDecay(peak, steps, EXPONENTIAL_END)
    return peak


class FlatThen(keras.optimizers.schedules.LearningRateSchedule):
    """The peak for the first n steps, then another schedule from its beginning."""

    def __init__(self, peak: float, steps: int, after: Schedule) -> None:
        self._peak = peak
        self._steps = steps
        self._after = after

    def __call__(self, step: Any) -> Any:
        later = ops.cast(step, "float32") - self._steps
        return ops.where(later < 0, self._peak, self._after(ops.maximum(later, 0.0)))


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """peak * (t + 1) / (n + 1) in the first n steps, t = 0, 1, ...; then another schedule.

    Not from 0: the first step would change nothing.
    """

    def __init__(self, peak: float, steps: int, after: Schedule | float) -> None:
        self._peak = peak
        self._steps = steps
        self._after = after

    def __call__(self, step: Any) -> Any:
        done = ops.cast(step, "float32")
        rising = self._peak * (done + 1) / (self._steps + 1)
        later = ops.maximum(done - self._steps, 0.0)
        after = self._after(later) if callable(self._after) else self._after
        return ops.where(done < self._steps, rising, after)
