"""Learning rates over a training against figures worked out by hand, and what optimizers hold."""

from typing import Any, get_args

import keras
import numpy as np
import pytest

from app.recipes.steps.recovery import Optimizer, Recovery
from worker.engine.training.optimizers import OPTIMIZERS, learning_rate, optimizer


def rate(step: int, steps: int, **options: Any) -> float:
    found = learning_rate(Recovery.model_validate({"learning_rate": 0.8, **options}), steps)
    return float(found(np.int64(step))) if callable(found) else found


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        # Half a cosine over 8 steps: 0.8 (1 + cos(pi t / 8)) / 2.
        ("cosine", {0: 0.8, 2: 0.4 * (1 + np.sqrt(0.5)), 4: 0.4, 8: 0.0}),
        # At the peak for 4 steps, then half a cosine over the other 4.
        ("flat_cosine", {0: 0.8, 4: 0.8, 5: 0.4 * (1 + np.sqrt(0.5)), 6: 0.4, 8: 0.0}),
        ("linear", {0: 0.8, 2: 0.6, 4: 0.4, 8: 0.0}),
        # 0.8 x 0.01^(t / 8).
        ("exponential", {0: 0.8, 4: 0.08, 8: 0.008}),
        ("constant", {0: 0.8, 4: 0.8, 8: 0.8}),
    ],
)
def test_learning_rate_follows_its_schedule(schedule: str, wanted: dict[int, float]) -> None:
    found = {step: rate(step, 8, schedule=schedule) for step in wanted}

    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "flat_cosine", "linear", "exponential", "constant"])
def test_learning_rate_warms_up_to_the_peak(schedule: str) -> None:
    """Three steps of warm-up: 1/4, 2/4, 3/4 of the peak, then the schedule from its beginning."""
    found = [rate(step, 11, schedule=schedule, warmup_steps=3) for step in range(4)]

    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_learning_rate_ends_at_0_after_a_warm_up_too() -> None:
    assert rate(7, 11, warmup_steps=3) == pytest.approx(0.4)
    assert rate(11, 11, warmup_steps=3) == pytest.approx(0.0, abs=1e-7)


def test_there_is_an_optimizer_for_every_name() -> None:
    assert set(OPTIMIZERS) == set(get_args(Optimizer))


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_optimizer_decays_weights_and_clips_as_it_is_told(name: str) -> None:
    made = optimizer(
        Recovery.model_validate(
            {"optimizer": name, "weight_decay": 0.25, "gradient_clip_value": 2.0}
        ),
        steps=10,
    )

    assert (made.weight_decay, made.clipvalue, made.global_clipnorm) == (0.25, 2.0, None)


def test_optimizer_clips_the_norm_of_all_gradients_together() -> None:
    """Gradients 3 and 4 have the norm 5; clipped to 1, steps of rate 1 are 0.6 and 0.8."""
    made = optimizer(
        Recovery(optimizer="sgd", learning_rate=1.0, schedule="constant", gradient_clip_norm=1.0),
        steps=1,
    )
    weights = [keras.Variable([0.0]), keras.Variable([0.0])]

    made.apply([keras.ops.array([3.0]), keras.ops.array([4.0])], weights)

    assert [float(weight.numpy()[0]) for weight in weights] == pytest.approx([-0.6, -0.8])


@pytest.mark.parametrize(("name", "decay"), [("adamw", 0.004), ("adam", None), ("sgd", None)])
def test_optimizer_keeps_its_own_weight_decay_unless_told(name: str, decay: float | None) -> None:
    made = optimizer(Recovery.model_validate({"optimizer": name}), steps=10)

    assert made.weight_decay == decay
