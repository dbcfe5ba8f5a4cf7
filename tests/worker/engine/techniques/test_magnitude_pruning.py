"""Pruned models: how much, where, and that it stays."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import (
    branched_model,
    context_for,
    conv_model,
    dense_model,
    embedding_model,
    nested_model,
    randomized,
    recurrent_model,
    step,
    with_masks,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import fine_tuning, magnitude_pruning
from worker.engine.training.evaluation import evaluate

RECOVERY = {"epochs": 2, "learning_rate": 0.01, "batch_size": 20}
# Without rows to choose an epoch by, the last one stays.
TO_THE_END = {**RECOVERY, "validation_fraction": 0.0}


def pruned(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    return magnitude_pruning.apply(step("magnitude_pruning", **parameters), model, context)


def zero_share(model: Any, name: str) -> float:
    return float((named_weights(model)[name].numpy() == 0).mean())


def test_apply_zeroes_the_share_in_each_kernel_and_no_bias(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = pruned(model, context_for(model, tmp_path), sparsity=0.75)

    assert zero_share(outcome.model, "hidden/kernel") == 0.75
    assert zero_share(outcome.model, "classes/kernel") == 0.75
    assert zero_share(outcome.model, "hidden/bias") == 0
    assert outcome.facts["sparsity"] == 0.75


def test_apply_leaves_kept_weights_as_they_were(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = pruned(model, context_for(model, tmp_path), sparsity=0.5)

    before = named_weights(model)["hidden/kernel"].numpy()
    keep = outcome.masks["hidden/kernel"]
    np.testing.assert_array_equal(
        named_weights(outcome.model)["hidden/kernel"].numpy(), np.where(keep, before, 0)
    )


def test_apply_ranks_over_all_kernels_when_global(tmp_path: Path) -> None:
    model = randomized(dense_model())
    hidden = named_weights(model)["hidden/kernel"]
    hidden.assign(hidden.numpy() + 100)

    outcome = pruned(model, context_for(model, tmp_path), sparsity=0.4, scope="global")

    # 56 weights in all: 22 go, all of them from the 24 that are small.
    assert zero_share(outcome.model, "hidden/kernel") == 0
    assert zero_share(outcome.model, "classes/kernel") == pytest.approx(22 / 24)


def test_apply_prunes_n_of_m_along_the_inputs(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = pruned(model, context_for(model, tmp_path), pattern="n_m", n=1, m=4)

    kept = outcome.masks["classes/kernel"].reshape(2, 4, 3).sum(axis=1)
    np.testing.assert_array_equal(kept, 1)
    assert outcome.facts["sparsity"] == 0.75


def picture_model(layer: Any) -> Any:
    return randomized(keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Flatten()]))


def test_apply_groups_n_of_m_over_all_inputs_of_a_kernel_with_one_channel(tmp_path: Path) -> None:
    model = picture_model(keras.layers.Conv2D(6, 5, name="conv"))

    outcome = pruned(model, context_for(model, tmp_path), pattern="n_m", n=2, m=4)

    kept = outcome.masks["conv/kernel"].reshape(25, 6)
    np.testing.assert_array_equal(kept[:24].reshape(6, 4, 6).sum(axis=1), 2)
    assert outcome.facts["sparsity"] == 12 / 25
    assert outcome.facts["requested_sparsity"] == 0.5


def test_apply_groups_n_of_m_over_the_window_of_a_depthwise_kernel(tmp_path: Path) -> None:
    model = picture_model(keras.layers.DepthwiseConv2D(2, depth_multiplier=3, name="conv"))

    outcome = pruned(model, context_for(model, tmp_path), pattern="n_m", n=1, m=4)

    np.testing.assert_array_equal(outcome.masks["conv/kernel"].sum(axis=(0, 1)), 1)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (
            {"sparsity": 0.6, "pattern": "block", "block_shape": (8, 4)},
            "its kernel of 8 inputs x 3 outputs is no larger than one block of 8 x 4",
        ),
        (
            {"sparsity": 0.2, "pattern": "block", "block_shape": (4, 4)},
            "its kernel of 8 inputs x 3 outputs is too small: 0.2 of it rounds to nothing",
        ),
        (
            {"pattern": "n_m", "n": 15, "m": 16},
            "its kernel of 8 inputs x 3 outputs is too small for groups of 16",
        ),
    ],
)
def test_apply_names_a_kernel_too_small_for_the_pattern(
    parameters: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((32,)),
            keras.layers.Dense(8, name="hidden"),
            keras.layers.Dense(3, name="classes"),
        ]
    )

    outcome = pruned(model, context_for(model, tmp_path), **parameters)

    assert [(skip.layer, skip.reason) for skip in outcome.skipped] == [("classes", reason)]
    assert zero_share(outcome.model, "classes/kernel") == 0
    assert zero_share(outcome.model, "hidden/kernel") > 0


def test_apply_prunes_whole_blocks(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = pruned(
        model, context_for(model, tmp_path), sparsity=0.5, pattern="block", block_shape=(2, 4),
        include=["hidden"],
    )  # fmt: skip

    blocks = outcome.masks["hidden/kernel"].reshape(2, 2, 2, 4).sum(axis=(1, 3))
    assert sorted(blocks.ravel()) == [0, 0, 8, 8]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (conv_model, ["conv/kernel", "logits/kernel"]),
        (branched_model, ["shared/kernel", "kind/kernel", "amount/kernel"]),
        (nested_model, ["backbone/inner/kernel", "classes/kernel"]),
        (
            recurrent_model,
            [
                "halves/kernel",
                "halves/recurrent_kernel",
                "halves/kernel_1",
                "halves/recurrent_kernel_1",
                "classes/kernel",
            ],
        ),
    ],
)
def test_apply_prunes_every_kernel_of(make: Any, names: list[str], tmp_path: Path) -> None:
    model = randomized(make())

    outcome = pruned(model, context_for(model, tmp_path), sparsity=0.5)

    assert list(outcome.facts["kernel_sparsity"]) == names
    assert all(zero_share(outcome.model, name) == 0.5 for name in names)


def test_apply_names_an_embedding_it_skipped_and_why(tmp_path: Path) -> None:
    model = embedding_model()

    outcome = pruned(model, context_for(model, tmp_path), sparsity=0.5)

    assert [(skip.layer, skip.reason) for skip in outcome.skipped] == [
        ("words", "an embedding table is looked up, not multiplied")
    ]


def test_apply_prunes_only_layers_that_the_recipe_chooses(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = pruned(model, context_for(model, tmp_path), sparsity=0.5, exclude=["class.*"])

    assert zero_share(outcome.model, "classes/kernel") == 0
    assert [skip.layer for skip in outcome.skipped] == ["classes"]


def test_apply_says_so_when_no_layer_can_be_pruned(tmp_path: Path) -> None:
    model = embedding_model()

    with pytest.raises(StepFailed, match="words: an embedding table is looked up"):
        pruned(model, context_for(model, tmp_path), sparsity=0.5, include=["words"])


@pytest.mark.parametrize("schedule", ["one_shot", "constant", "polynomial"])
@pytest.mark.parametrize(
    "pattern",
    [{"sparsity": 0.5}, {"pattern": "n_m"}, {"sparsity": 0.5, "pattern": "block"}],
    ids=["unstructured", "n_m", "block"],
)
def test_apply_trains_to_exactly_the_sparsity_with_any_schedule(
    schedule: str, pattern: dict[str, Any], tmp_path: Path
) -> None:
    model = randomized(dense_model())
    parameters = {**pattern, "schedule": schedule, "recovery": TO_THE_END, "include": ["hidden"]}

    outcome = pruned(model, context_for(model, tmp_path), **parameters)

    assert zero_share(outcome.model, "hidden/kernel") == 0.5
    before = named_weights(model)["hidden/kernel"].numpy()
    after = named_weights(outcome.model)["hidden/kernel"].numpy()
    assert np.all(after[after != 0] != before[after != 0])


def test_apply_reports_accuracy_right_after_the_change_before_recovery(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    outcome = pruned(model, context, sparsity=0.9, recovery=RECOVERY)

    validation = context.divided(0.1)[1]
    assert validation is not None
    untrained = pruned(model, context, sparsity=0.9).model
    figures = evaluate(untrained, validation, context.tasks, context.check_cancelled)
    assert outcome.accuracy_after_change == figures.accuracy


def test_apply_keeps_an_epoch_of_full_sparsity_only(tmp_path: Path) -> None:
    model = randomized(dense_model())
    parameters = {"sparsity": 0.9, "schedule": "polynomial", "end_step": 12}

    outcome = pruned(
        model, context_for(model, tmp_path), **parameters, recovery={**RECOVERY, "epochs": 4}
    )

    # 5 steps an epoch: only the third and fourth end at or after step 12.
    assert outcome.facts["kept_epoch"] >= 3
    assert zero_share(outcome.model, "hidden/kernel") == pytest.approx(0.9, abs=0.5 / 32)


def test_apply_keeps_what_an_earlier_step_pruned(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = pruned(model, context, sparsity=0.5)

    second = pruned(first.model, with_masks(context, first.masks), sparsity=0.75)

    assert zero_share(second.model, "hidden/kernel") == 0.75
    for name, mask in first.masks.items():
        assert not (second.masks[name] & ~mask).any()


def test_apply_never_brings_weights_back_when_a_later_step_asks_for_less(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = pruned(model, context, sparsity=0.75)

    second = pruned(first.model, with_masks(context, first.masks), sparsity=0.5, recovery=RECOVERY)

    assert zero_share(second.model, "hidden/kernel") == 0.75


def test_apply_holds_zeros_of_layers_it_was_not_asked_to_prune(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = pruned(model, context, sparsity=0.5, include=["hidden"])

    second = pruned(
        first.model, with_masks(context, first.masks), sparsity=0.5, include=["classes"],
        recovery=RECOVERY,
    )  # fmt: skip

    assert zero_share(second.model, "hidden/kernel") == 0.5


def test_fine_tuning_holds_what_was_pruned_and_trains_the_rest(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = pruned(model, context, sparsity=0.5)

    tuned = fine_tuning.apply(
        step("fine_tuning", **TO_THE_END), first.model, with_masks(context, first.masks)
    )

    assert zero_share(tuned.model, "hidden/kernel") == 0.5
    assert tuned.masks == first.masks
    kept = first.masks["hidden/kernel"]
    before, after = (
        named_weights(which)["hidden/kernel"].numpy()[kept] for which in (first.model, tuned.model)
    )
    assert np.mean(before != after) > 0.5
