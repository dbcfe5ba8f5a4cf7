"""Trainings with coded gradients: what they report, and that they go on after a crash."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import Cancelled, StepFailed
from app.recipes.steps.recovery import Recovery
from tests.builders import context_for, conv_model, dense_model, embedding_model, randomized, step
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.techniques import technique
from worker.engine.training.checkpoints import Checkpoints
from worker.engine.training.history import TrainingHistory
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

pytestmark = pytest.mark.slow

FED_BACK = {"num_bits": 2, "rounding": "stochastic", "error_feedback": True}


def options(coding: dict[str, Any] | None, **parameters: Any) -> Recovery:
    given = {"epochs": 2, "learning_rate": 0.02, "batch_size": 20, "gradient_quantization": coding}
    return Recovery.model_validate({**given, **parameters})


def alone(**coding: Any) -> dict[str, Any]:
    return {**coding, "compare_with_float32": False}


def trained(model: Any, context: Any, asked: Recovery, **held: Any) -> TrainingHistory:
    return train(model, context, asked, Interventions(**held))


def assert_same_weights(one: Any, other: Any) -> None:
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def kept_in(folder: Path) -> Checkpoints:
    """Saves after every batch."""
    return Checkpoints(folder / "checkpoints", seconds_between=0.0)


def test_a_training_is_compared_with_the_same_one_in_float32(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    plain, coded, compared = (clone_with_weights(model) for _ in range(3))
    float32 = trained(plain, context, options(None))
    trained(coded, context, options(alone(num_bits=2)))

    facts = trained(compared, context, options({"num_bits": 2})).facts()["gradient_quantization"]

    assert_same_weights(compared, coded)
    assert facts["float32"]["train_loss"] == float32.facts()["train_loss"]
    assert facts["float32"]["score"] == float32.kept_score
    assert facts["score_lost"] == pytest.approx(float32.kept_score - facts["score"])


def test_a_training_states_what_its_gradients_took(tmp_path: Path) -> None:
    model = dense_model()

    facts = trained(model, context_for(model, tmp_path), options(alone(num_bits=2))).facts()

    found = facts["gradient_quantization"]
    assert found["coordinates"] == model.count_params() == 67
    # Four scales; 32, 8, 24 and 3 symbols of three levels, five in a byte.
    assert found["bytes_per_step"] == 4 * 4 + 7 + 2 + 5 + 1
    assert found["compression_ratio"] == pytest.approx(268 / 31)
    assert 0 < found["entropy_bits_per_symbol"] < np.log2(3)
    assert found["sampled_steps"] == 1
    assert found["workers"] == 1


def test_eight_bits_train_much_as_float32_does(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    plain, coded = clone_with_weights(model), clone_with_weights(model)

    wanted = trained(plain, context, options(None, optimizer="sgd")).facts()["train_loss"]
    found = trained(coded, context, options(alone(num_bits=8), optimizer="sgd")).facts()

    np.testing.assert_allclose(found["train_loss"], wanted, rtol=0.01)


@pytest.mark.parametrize(
    ("coding", "dtype"),
    [(FED_BACK, "mixed_float16"), ({"rounding": "top_k", "error_feedback": True}, "float32")],
)
def test_a_training_goes_on_with_what_feedback_remembered(
    coding: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    first = randomized(embedding_model())
    asked = options(alone(**coding), dtype=dtype)
    context = context_for(first, tmp_path)
    whole, broken, resumed = (clone_with_weights(first) for _ in range(3))
    history = trained(whole, context, asked)
    questions = iter(range(4))

    def cancelled() -> None:
        if next(questions, None) is None:
            raise Cancelled("the worker went away")

    with pytest.raises(Cancelled):
        trained(
            broken,
            replace(context, checkpoints=kept_in(tmp_path), check_cancelled=cancelled),
            asked,
        )

    again = trained(resumed, replace(context, checkpoints=kept_in(tmp_path)), asked)

    assert again.resumed_at_step
    assert again == history
    assert_same_weights(resumed, whole)


def test_pruned_weights_stay_zero(tmp_path: Path) -> None:
    model = randomized(dense_model())
    mask = np.arange(32).reshape(4, 8) % 2 == 0
    held = HeldZeros(model, {"hidden/kernel": mask})
    held.hold()

    trained(model, context_for(model, tmp_path), options({"rounding": "sign"}), zeros=held)

    assert not model.get_weights()[0][~mask].any()


def test_a_gradual_pruning_is_compared_from_its_start(tmp_path: Path) -> None:
    """The masks of the comparison in float32 are not those that the step begins with."""
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    asked = {"epochs": 2, "batch_size": 20, "learning_rate": 0.02}
    outcomes = [
        technique("magnitude_pruning").apply(
            step(
                "magnitude_pruning",
                sparsity=0.5,
                schedule="polynomial",
                recovery={**asked, "gradient_quantization": coding},
            ),
            model,
            context,
        )
        for coding in ({"num_bits": 4}, alone(num_bits=4))
    ]

    assert_same_weights(outcomes[0].model, outcomes[1].model)
    for name, mask in outcomes[1].masks.items():
        np.testing.assert_array_equal(outcomes[0].masks[name], mask)


def test_what_is_done_between_steps_cannot_be_shared(tmp_path: Path) -> None:
    model = dense_model()
    asked = options(alone(workers=2))

    with pytest.raises(StepFailed, match="cannot be divided over 2 processes"):
        trained(model, context_for(model, tmp_path), asked, after_step=print)
