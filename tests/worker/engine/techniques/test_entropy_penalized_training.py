"""Entropy-penalized training: weights that are few whole numbers times a step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import Cancelled, StepFailed
from tests.builders import (
    MODELS,
    context_for,
    conv_model,
    dense_model,
    outputs_of,
    randomized,
    rows_for,
    step,
    with_masks,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.quantizing.levels import Grid
from worker.engine.rate.dead import without_dead_units
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.removal import removed
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import technique
from worker.engine.techniques.entropy_penalized_training import ramp
from worker.engine.training.checkpoints import Checkpoints

pytestmark = pytest.mark.slow

TAG = "entropy_penalized_training"


def applied(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    asked = step(TAG, **{"epochs": 1, "batch_size": 32, **parameters})
    outcome = technique(TAG).apply(asked, model, context)
    assert isinstance(outcome, StepOutcome)
    return outcome


def test_ramp_is_a_cubic_up_to_its_end() -> None:
    assert [ramp(done, 10) for done in (0, 5, 10, 15)] == [0.0, 0.125, 1.0, 1.0]


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_every_coded_weight_lies_on_its_levels(kind: str, tmp_path: Path) -> None:
    model = randomized(MODELS[kind]())

    outcome = applied(model, context_for(model, tmp_path), smallest_step=0.2)

    weights = named_weights(outcome.model)
    assert outcome.levels
    for name, grid in outcome.levels.items():
        values = weights[name].numpy()
        assert isinstance(grid, Grid)
        numbers = grid.numbers(values)
        assert numbers is not None
        assert outcome.facts["coded"][name]["nonzero_weights"] >= np.count_nonzero(numbers)
        np.testing.assert_array_equal(values, grid.values(numbers))


def test_scale_and_shift_of_normalizations_stay_and_are_named(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = applied(model, context_for(model, tmp_path))

    assert not any(name.startswith("norm/") for name in outcome.levels)
    assert [(skip.layer, "float32" in skip.reason) for skip in outcome.skipped] == [("norm", True)]


def test_excluded_layers_keep_full_values_and_are_named(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = applied(model, context_for(model, tmp_path), exclude=["classes"])

    assert set(outcome.levels) == {"hidden/kernel", "hidden/bias"}
    assert [skip.layer for skip in outcome.skipped] == ["classes"]


def test_nothing_to_code_is_refused_with_the_reasons(tmp_path: Path) -> None:
    model = dense_model()

    with pytest.raises(StepFailed, match="hidden: not chosen by the recipe"):
        applied(model, context_for(model, tmp_path), include=["hiden"])


def test_dearer_bits_make_fewer_of_them(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    cheap, dear = (
        applied(model, context, rate_weight=weight, epochs=8, learning_rate=0.01, batch_size=8)
        for weight in (0.01, 30.0)
    )

    assert dear.facts["estimated_bytes"] < 0.7 * cheap.facts["estimated_bytes"]
    assert dear.facts["nonzero_weights"] < cheap.facts["nonzero_weights"]


def test_a_kernel_of_which_nothing_is_left_is_a_warning(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    emptied = applied(model, context, smallest_step=10.0, remove_dead_units=False)
    kept = applied(model, context, remove_dead_units=False)

    assert "zeros of hidden/kernel, classes/kernel" in emptied.warnings[0]
    assert kept.warnings == ()


def test_pruned_weights_stay_zero(tmp_path: Path) -> None:
    model = randomized(dense_model())
    kept = np.ones((4, 8), np.bool_)
    kept[1:3, ::2] = False
    context = with_masks(context_for(model, tmp_path), {"hidden/kernel": kept})

    outcome = applied(model, context, remove_dead_units=False, rate_weight=0.01)

    kernel = named_weights(outcome.model)["hidden/kernel"].numpy()
    assert not kernel[~kept].any()
    assert kernel[kept].any()


def test_a_second_step_goes_on_from_the_levels_of_the_first(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = applied(model, context, rate_weight=0.01, remove_dead_units=False)
    later = replace(context, levels=first.levels)

    second = applied(
        first.model, later, learning_rate=1e-9, rate_weight=1e-9, remove_dead_units=False
    )

    for one, same in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-6)


def with_dead_units() -> Any:
    """`hidden` has 8 units, of which nothing reads 1 and 5; 2 has no incoming weights."""
    model = randomized(dense_model())
    hidden, classes = model.layers
    kernel, bias = classes.get_weights()
    kernel[[1, 5]] = 0
    classes.set_weights([kernel, bias])
    kernel, bias = hidden.get_weights()
    kernel[:, 2] = 0
    hidden.set_weights([kernel, bias])
    return model


def test_units_that_only_zeros_read_are_dead() -> None:
    model = with_dead_units()

    keep = without_dead_units(model, channel_graph(model))

    assert {name: kept.tolist() for name, kept in keep.items()} == {
        "hidden": [True, False, True, True, True, False, True, True]
    }


def test_taking_out_dead_units_changes_no_output() -> None:
    model = with_dead_units()
    graph = channel_graph(model)
    inputs = rows_for(model, 8)

    smaller = removed(model, graph, without_dead_units(model, graph), {}).model

    for now, was in zip(outputs_of(smaller, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_allclose(now, was, atol=1e-6)
    assert smaller.layers[0].units == 6


def test_a_layer_keeps_one_unit_where_all_are_dead() -> None:
    model = dense_model()
    model.layers[1].set_weights([np.zeros((8, 3)), np.ones(3)])

    keep = without_dead_units(model, channel_graph(model))

    assert keep["hidden"].sum() == 1


def test_nothing_goes_where_statistics_run_over_channels() -> None:
    features = keras.Input((4,), name="features")
    x = keras.layers.Dense(6, name="hidden")(features)
    x = keras.layers.LayerNormalization(name="norm")(x)
    model = keras.Model(features, keras.layers.Dense(3, name="classes")(x))
    model.layers[-1].set_weights([np.zeros((6, 3)), np.ones(3)])

    assert without_dead_units(model, channel_graph(model)) == {}


def test_dead_units_are_taken_out_with_levels_masks_and_lineage(tmp_path: Path) -> None:
    model = with_dead_units()
    kept = named_weights(model)["classes/kernel"].numpy() != 0
    context = with_masks(context_for(model, tmp_path), {"classes/kernel": kept})

    outcome = applied(model, context, rate_weight=0.01)

    left = 8 - outcome.facts["removed_units"]["hidden"]
    assert left <= 6
    assert outcome.masks["classes/kernel"].shape == (left, 3)
    assert len(outcome.lineage.entries["hidden/kernel"][1]) == left
    grid = outcome.levels["hidden/kernel"]
    assert grid.numbers(named_weights(outcome.model)["hidden/kernel"].numpy()) is not None


def test_the_best_epoch_is_one_of_the_last(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = applied(model, context_for(model, tmp_path), epochs=20, rate_weight=20.0)

    assert outcome.facts["kept_epoch"] >= 18


def test_progress_tells_the_size(tmp_path: Path) -> None:
    model = randomized(dense_model())
    heard: list[float] = []
    context = replace(
        context_for(model, tmp_path),
        report_progress=lambda fraction, message, **told: (
            heard.append(told["estimated_bytes"]) if "estimated_bytes" in told else None
        ),
    )

    applied(model, context)

    assert heard
    assert all(0 < size < 100 for size in heard)


class CutOff:
    """Cancels at the n-th question."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self) -> None:
        self.after -= 1
        if self.after < 0:
            raise Cancelled("the worker went away")


def test_a_resumed_training_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    asked = {"epochs": 4, "distill": False}
    whole = applied(model, context, **asked)
    kept = Checkpoints(tmp_path / "checkpoints", seconds_between=0.0)
    with pytest.raises(Cancelled):
        applied(model, replace(context, checkpoints=kept, check_cancelled=CutOff(9)), **asked)

    again = Checkpoints(tmp_path / "checkpoints", seconds_between=0.0)
    resumed = applied(model, replace(context, checkpoints=again), **asked)

    assert resumed.facts["resumed_at_step"]
    for one, same in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
