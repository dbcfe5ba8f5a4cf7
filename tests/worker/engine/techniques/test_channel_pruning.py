"""Narrower models: which channels go, how many, and what comes after."""

from dataclasses import replace
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
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
    step,
    with_masks,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import convert_full_integer
from worker.engine.pruning.budget import macs_of
from worker.engine.surgery.weights import assign_weights, named_weights
from worker.engine.techniques import batch_norm_folding, channel_pruning, magnitude_pruning

L = keras.layers
RECOVERY = {"epochs": 2, "learning_rate": 0.01, "batch_size": 20}


def pruned(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    return channel_pruning.apply(step("channel_pruning", **parameters), model, context)


def after(outcome: StepOutcome) -> dict[str, int]:
    """Units left by group, of those that became narrower."""
    return {name: found["after"] for name, found in outcome.facts["channels"].items()}


def with_values(model: Any, **values: Any) -> Any:
    """The model with some weights set; `__` stands for the slash in their names."""
    assign_weights(model, {name.replace("__", "/"): value for name, value in values.items()})
    return model


def two_layers(first: int = 8, second: int = 8, norm: bool = False) -> Any:
    """6x6x2 pictures -> `one` -> `two` -> 3 classes."""
    keras.utils.set_random_seed(8)
    picture = keras.Input((6, 6, 2), name="picture")
    x = L.Conv2D(first, 3, padding="same", activation="relu", name="one")(picture)
    x = L.Conv2D(second, 3, padding="same", name="two")(x)
    if norm:
        x = L.BatchNormalization(name="norm")(x)
    x = L.GlobalAveragePooling2D(name="pool")(L.ReLU(name="relu")(x))
    return randomized(keras.Model(picture, L.Dense(3, name="logits")(x), name="two_layers"))


def residual_model() -> Any:
    """A stem and two residual blocks of 32 channels, 48 inside, each with BatchNormalization."""
    keras.utils.set_random_seed(9)
    picture = keras.Input((8, 8, 3), name="picture")
    x = L.Conv2D(32, 3, padding="same", use_bias=False, name="stem")(picture)
    for block in ("a", "b"):
        inner = L.Conv2D(48, 3, padding="same", use_bias=False, name=f"{block}_wide")(x)
        inner = L.ReLU(name=f"{block}_relu")(L.BatchNormalization(name=f"{block}_norm")(inner))
        inner = L.Conv2D(32, 3, padding="same", name=f"{block}_back")(inner)
        x = L.Add(name=f"{block}_add")([x, inner])
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return randomized(keras.Model(picture, L.Dense(3, name="logits")(x), name="residual_model"))


# Columns of the hidden kernel: mean magnitudes 4, 1, 3, 2, 8, 5, 7, 6.
MAGNITUDES = np.array([4, 1, 3, 2, 8, 5, 7, 6])
ALTERNATING = np.array([[1], [-1], [1], [-1]]) * MAGNITUDES


@pytest.mark.parametrize("importance", ["l1", "l2"])
def test_apply_takes_out_the_units_with_the_smallest_weights(
    importance: str, tmp_path: Path
) -> None:
    model = with_values(randomized(dense_model()), hidden__kernel=ALTERNATING)

    outcome = pruned(model, context_for(model, tmp_path), pruning_ratio=0.5, importance=importance)

    weights, before = named_weights(outcome.model), named_weights(model)
    left = [4, 5, 6, 7]
    assert weights["hidden/kernel"].numpy().tolist() == ALTERNATING[:, left].tolist()
    for name, axis in (("hidden/bias", 0), ("classes/kernel", 0)):
        expected = np.take(before[name].numpy(), left, axis=axis)
        np.testing.assert_array_equal(weights[name].numpy(), expected)
    assert after(outcome) == {"hidden": 4}
    assert outcome.facts["pruning_ratio"] == 0.5


def test_apply_changes_no_output_but_by_the_channels_that_go(tmp_path: Path) -> None:
    model = residual_model()
    quiet = np.arange(48) % 2 == 1
    for name in ("a_norm/gamma", "a_norm/beta", "a_norm/moving_mean"):
        values = named_weights(model)[name]
        values.assign(np.where(quiet, 0, values.numpy()))

    outcome = pruned(
        model, context_for(model, tmp_path), importance="bn_scale", include=["a_.*"],
        pruning_ratio=0.5,
    )  # fmt: skip

    rows = rows_for(model, 4)
    np.testing.assert_allclose(
        outputs_of(outcome.model, rows)[0], outputs_of(model, rows)[0], rtol=1e-4
    )
    assert after(outcome) == {"a_wide": 24}


def test_apply_reports_what_the_model_lost(tmp_path: Path) -> None:
    model = two_layers()

    context = context_for(model, tmp_path)

    outcome = pruned(model, context, pruning_ratio=0.5)

    # 36 places: 9 x 2 x 8 and 9 x 8 x 8 products; 8 x 3 for the classes. Then half of each width.
    assert macs_of(model, context) == 36 * (144 + 576) + 24
    assert macs_of(outcome.model, context) == 36 * (72 + 144) + 12
    assert outcome.facts["macs_ratio"] == 7788 / 25944
    assert outcome.model.count_params() == 76 + 148 + 15
    assert outcome.facts["channels"]["one"] == {"layers": ["one"], "before": 8, "after": 4}


def test_apply_ranks_channels_of_all_layers_together_when_global(tmp_path: Path) -> None:
    model = two_layers()
    kernel = named_weights(model)["one/kernel"].numpy()
    kernel[..., :5] *= 1e-3

    outcome = pruned(
        with_values(model, one__kernel=kernel), context_for(model, tmp_path),
        pruning_ratio=5 / 16, scope="global",
    )  # fmt: skip

    assert after(outcome) == {"one": 3}


@pytest.mark.parametrize("make", [lambda: two_layers(48, 64, norm=True), residual_model])
@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("scope", ["per_layer", "global"])
def test_apply_meets_a_target_within_two_percent(
    make: Any, target: float, scope: str, tmp_path: Path
) -> None:
    model = make()
    context = context_for(model, tmp_path)

    outcome = pruned(model, context, target_macs_ratio=target, scope=scope)

    assert outcome.facts["macs_ratio"] == pytest.approx(target, rel=0.02)
    assert outcome.warnings == ()


def test_apply_stays_below_a_target_that_the_multiple_is_too_coarse_for(tmp_path: Path) -> None:
    model = two_layers(16, 16)

    outcome = pruned(model, context_for(model, tmp_path), target_macs_ratio=0.7, channel_multiple=8)

    # 16 and 8 channels leave 0.56 or 0.5 of it, 16 and 16 all.
    assert outcome.facts["macs_ratio"] == pytest.approx(0.56, abs=0.01)
    assert "asked to leave 0.7 of the multiply-accumulates and left 0.556" in outcome.warnings[0]


def test_apply_says_how_far_a_target_is_out_of_reach(tmp_path: Path) -> None:
    model = two_layers(8, 8)
    context = context_for(model, tmp_path)

    with pytest.raises(StepFailed, match=r"target_macs_ratio 0.05 is out of reach.* 0.2\d* of"):
        pruned(model, context, target_macs_ratio=0.05, include=["one"], channel_multiple=2)


def test_apply_counts_a_group_whose_last_unit_can_no_longer_go(tmp_path: Path) -> None:
    picture = keras.Input((6, 6, 2), name="picture")
    x = L.Conv2D(4, 3, name="conv")(picture)
    gate = L.Dense(4, name="gate")(L.GlobalAveragePooling2D()(x))
    gate = L.Permute((2, 3, 1))(L.Reshape((4, 1, 1))(gate))
    x = L.Flatten()(L.Multiply()([x, gate]))
    model = keras.Model(picture, L.Dense(3, name="classes")(x))

    outcome = pruned(model, context_for(model, tmp_path), pruning_ratio=0.75)

    assert set(after(outcome).values()) == {1}
    assert outcome.facts["pruning_ratio"] == 0.75


def test_apply_leaves_multiples_of_channels(tmp_path: Path) -> None:
    model = two_layers(32, 20)

    outcome = pruned(model, context_for(model, tmp_path), pruning_ratio=0.4, channel_multiple=8)

    assert after(outcome) == {"one": 16, "two": 16}


def test_apply_names_layers_that_are_no_wider_than_the_multiple(tmp_path: Path) -> None:
    model = two_layers(32, 8)

    outcome = pruned(model, context_for(model, tmp_path), pruning_ratio=0.5, channel_multiple=8)

    assert after(outcome) == {"one": 16}
    assert ("two", "its 8 channels are no more than channel_multiple (8)") in [
        (skip.layer, skip.reason) for skip in outcome.skipped
    ]


def test_apply_counts_recurrent_units_once_though_kernels_hold_them_for_every_gate(
    tmp_path: Path,
) -> None:
    model = randomized(recurrent_model())

    outcome = pruned(model, context_for(model, tmp_path), pruning_ratio=0.3, channel_multiple=3)

    assert after(outcome) == {"halves": 3}


def test_apply_keeps_the_channel_that_matters_by_taylor_though_its_weights_are_small(
    tmp_path: Path,
) -> None:
    model = two_layers(8, 4, norm=True)
    kernel = named_weights(model)["two/kernel"].numpy()
    kernel[..., 2] *= 1e-3
    # The normalization makes up for the small kernel; of the others the classes hear little.
    heard = np.where(
        np.arange(4)[:, None] == 2, named_weights(model)["logits/kernel"].numpy(), 1e-3
    )
    with_values(
        model, two__kernel=kernel, two__bias=np.zeros(4), norm__moving_mean=np.zeros(4),
        norm__moving_variance=[1, 1, 1e-6, 1], logits__kernel=heard,
    )  # fmt: skip
    context = context_for(model, tmp_path)
    outcomes = {
        importance: pruned(
            model, context, importance=importance, include=["two"], pruning_ratio=0.7
        )
        for importance in ("l1", "taylor")
    }

    kept = {
        name: named_weights(one.model)["logits/kernel"].numpy() for name, one in outcomes.items()
    }
    assert kept["taylor"].tolist() == heard[[2]].tolist()
    assert kept["l1"].tolist() != heard[[2]].tolist()


def test_apply_takes_out_what_batch_normalization_scales_least(tmp_path: Path) -> None:
    model = with_values(two_layers(8, 4, norm=True), norm__gamma=[0.9, -0.1, -2.0, 0.2])

    outcome = pruned(model, context_for(model, tmp_path), importance="bn_scale", pruning_ratio=0.5)

    np.testing.assert_allclose(named_weights(outcome.model)["norm/gamma"].numpy(), [0.9, -2.0])
    assert [skip.reason.split(";")[0] for skip in outcome.skipped if skip.layer == "one"] == [
        "no BatchNormalization scales its channels"
    ]


def test_apply_takes_out_others_by_chance_for_another_seed(tmp_path: Path) -> None:
    model = two_layers(16, 16)
    context = context_for(model, tmp_path)
    first, again, other = (
        pruned(model, replace(context, seed=seed), importance="random").model.get_weights()
        for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


def test_apply_counts_zeros_of_earlier_pruning_as_nothing_and_holds_them(tmp_path: Path) -> None:
    model = residual_model()
    context = context_for(model, tmp_path)
    sparse = magnitude_pruning.apply(step("magnitude_pruning", sparsity=0.5), model, context)

    outcome = pruned(
        sparse.model, with_masks(context, sparse.masks), pruning_ratio=0.5, recovery=RECOVERY
    )

    weights = named_weights(outcome.model)
    assert outcome.masks.keys() == sparse.masks.keys()
    for name, mask in outcome.masks.items():
        values = weights[name].numpy()
        assert mask.shape == values.shape
        assert (values[~mask] == 0).all()
        assert (values[mask] != 0).all()
    # The densest filters stay, so that fewer than half of the weights are zeros now.
    assert 0.3 < float((~outcome.masks["b_wide/kernel"]).mean()) < 0.5


def test_apply_prunes_in_rounds_with_training_between(tmp_path: Path) -> None:
    model = two_layers(8, 12)

    outcome = pruned(
        model, context_for(model, tmp_path), pruning_ratio=0.75, steps=3,
        recovery={**RECOVERY, "epochs": 4},
    )  # fmt: skip

    rounds = outcome.facts["rounds"]
    # Of 8 and 12 units 2 and 3 go in every round.
    assert [one["units"] for one in rounds] == [15, 10, 5]
    assert [one["epochs"] for one in rounds] == [1, 1, 2]
    assert after(outcome) == {"one": 2, "two": 3}
    assert outcome.accuracy_after_change == rounds[-1]["accuracy_after_change"]


@pytest.mark.parametrize(
    "parameters",
    [{"target_macs_ratio": 0.4}, {"pruning_ratio": 0.5, "scope": "global"}],
    ids=["target", "global"],
)
def test_apply_ends_rounds_where_one_round_would(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    model = two_layers(24, 24)
    context = context_for(model, tmp_path)

    once = pruned(model, context, **parameters)
    rounds = pruned(model, context, **parameters, steps=3, importance="random")

    assert sum(after(rounds).values()) == pytest.approx(sum(after(once).values()), abs=4)
    if "target_macs_ratio" in parameters:
        assert rounds.facts["macs_ratio"] == pytest.approx(0.4, rel=0.02)
    else:
        assert rounds.facts["pruning_ratio"] == 0.5


def test_apply_tells_of_growing_progress_over_all_rounds(tmp_path: Path) -> None:
    model = two_layers()
    heard: list[float] = []
    context = replace(
        context_for(model, tmp_path),
        report_progress=lambda fraction, message, **metrics: heard.append(fraction),
    )

    pruned(model, context, steps=2, importance="taylor", recovery=RECOVERY)

    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_apply_prunes_only_groups_all_of_whose_layers_are_chosen(tmp_path: Path) -> None:
    model = residual_model()

    outcome = pruned(model, context_for(model, tmp_path), exclude=["b_.*"])

    reasons = {skip.layer: skip.reason for skip in outcome.skipped}
    assert after(outcome) == {"a_wide": 24}
    assert reasons["b_wide"] == "not chosen by the recipe"
    assert reasons["stem"] == "its channels are also those of b_back, not chosen by the recipe"
    assert "output" in reasons["logits"]


def test_apply_says_so_when_no_channel_can_go(tmp_path: Path) -> None:
    model = dense_model()

    with pytest.raises(StepFailed, match="hidden: not chosen by the recipe") as failure:
        pruned(model, context_for(model, tmp_path), include=["classes"])

    assert failure.value.hint


@pytest.mark.parametrize("ratio", [0.95, 0.99])
def test_apply_refuses_a_ratio_that_would_empty_a_layer(ratio: float, tmp_path: Path) -> None:
    model = two_layers(8, 64)

    with pytest.raises(StepFailed, match="all 8 channels of layer 'one'") as failure:
        pruned(model, context_for(model, tmp_path), pruning_ratio=ratio)

    assert "at most 0.875" in str(failure.value.hint)


def test_apply_leaves_one_of_each_layer_when_global(tmp_path: Path) -> None:
    model = two_layers(8, 64)

    outcome = pruned(model, context_for(model, tmp_path), pruning_ratio=0.99, scope="global")

    assert after(outcome) == {"one": 1, "two": 1}


def test_apply_gives_a_model_that_reloads_alike(tmp_path: Path) -> None:
    model = branched_model()
    smaller = pruned(model, context_for(model, tmp_path)).model

    smaller.save(tmp_path / "smaller.keras")
    again = keras.saving.load_model(tmp_path / "smaller.keras")

    rows = rows_for(model, 4)
    for one, same in zip(outputs_of(again, rows), outputs_of(smaller, rows), strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("folds", ["before", "after"])
def test_apply_goes_with_batch_norm_folding_and_int8(folds: str, tmp_path: Path) -> None:
    model = residual_model()
    context = context_for(model, tmp_path)
    folding, pruning = step("batch_norm_folding"), step("channel_pruning", pruning_ratio=0.5)
    whole = batch_norm_folding.apply(folding, model, context).model
    smaller = (
        channel_pruning.apply(pruning, whole, context).model
        if folds == "before"
        else batch_norm_folding.apply(
            folding, channel_pruning.apply(pruning, model, context).model, context
        ).model
    )

    files = {
        name: convert_full_integer(
            KerasSource(one, tmp_path / name, {}).saved_model_for_tflite(),
            rows_for(one, 20),
            activation_bits=8,
            io="float",
        )
        for name, one in (("whole", whole), ("smaller", smaller))
    }
    assert smaller.count_params() < 0.3 * whole.count_params()
    assert len(files["smaller"]) < 0.5 * len(files["whole"])


def test_apply_trains_what_is_left(tmp_path: Path) -> None:
    model = conv_model()

    outcome = pruned(model, context_for(model, tmp_path), recovery={**RECOVERY, "epochs": 8})

    assert outcome.accuracy_after_change is not None
    assert outcome.facts["validation_score"][-1] >= outcome.accuracy_after_change
    assert outcome.facts["train_loss"][-1] < outcome.facts["train_loss"][0]
