"""Activation quantization: models that round, what they say, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import DataNotUsable, StepFailed
from app.uploads.inspector.keras.files import read_keras
from tests.builders import (
    MODELS,
    context_for,
    conv_model,
    dense_model,
    never_cancelled,
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
    step,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.quantizing.calibration.observing import observed
from worker.engine.quantizing.fake_quant import ranges_of
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.techniques import batch_norm_folding, channel_pruning, fine_tuning
from worker.engine.techniques.activation_quantization import apply

TAG = "activation_quantization"
CHOICES: dict[str, dict[str, Any]] = {
    "linear": {},
    "linear 4": {"num_bits": 4, "calibration": "entropy"},
    "linear 16": {"num_bits": 16, "calibration": "min_max"},
    "power_of_two": {"num_bits": 5, "mapping": "power_of_two", "calibration": "moving_average"},
    "mu_law": {"num_bits": 6, "mapping": "mu_law", "mu": 50.0},
    "codebook": {"num_bits": 4, "mapping": "codebook", "calibration": "percentile"},
}


def applied(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    return apply(step(TAG, **parameters), model, context)


@pytest.mark.parametrize("name", CHOICES)
def test_every_mapping_loads_in_plain_keras_and_computes_the_same(
    name: str, tmp_path: Path
) -> None:
    model = randomized(conv_model())
    rounded = applied(model, context_for(model, tmp_path), **CHOICES[name]).model
    rounded.save(tmp_path / "model.keras")

    loaded = keras.saving.load_model(tmp_path / "model.keras")

    with (tmp_path / "model.keras").open("rb") as file:
        assert read_keras(file).parameter_count == model.count_params()
    inputs = rows_for(model, 8)
    for ours, theirs, plain in zip(
        outputs_of(loaded, inputs),
        outputs_of(rounded, inputs),
        outputs_of(model, inputs),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
        assert not np.array_equal(ours, plain)
        np.testing.assert_allclose(ours, plain, atol=3.0)


@pytest.mark.parametrize("kind", sorted(set(MODELS) - {"recurrent"}))
@pytest.mark.parametrize("name", ["linear", "codebook"])
def test_every_architecture_can_be_rounded_and_copied(kind: str, name: str, tmp_path: Path) -> None:
    model = randomized(MODELS[kind]())
    context = context_for(model, tmp_path)

    rounded = clone_with_weights(applied(model, context, **CHOICES[name]).model)

    inputs = rows_for(model, 4)
    for ours, theirs in zip(outputs_of(rounded, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1.0)


def test_few_levels_are_few_values(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    rounded = applied(model, context, num_bits=4, mapping="codebook").model
    hidden = keras.Model(rounded.inputs[0], rounded.get_layer("classes").input)

    (values,) = outputs_of(hidden, rows_for(model, 200))
    assert 8 < len(np.unique(values)) <= 16
    assert 0.0 in values


def test_ranges_are_those_of_the_sample(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    assert context.data is not None

    found = ranges_of(applied(model, context, calibration="min_max").model)

    rows = context.data.train.take(1000)["features"]
    assert found["features"].minimum == pytest.approx(rows.min())
    assert found["features"].maximum == pytest.approx(rows.max())
    assert found["hidden"].minimum == 0.0


def test_sixteen_bits_are_alike_on_both_sides(tmp_path: Path) -> None:
    model = randomized(dense_model())

    found = ranges_of(applied(model, context_for(model, tmp_path), num_bits=16).model)

    assert {one.num_bits for one in found.values()} == {16}
    assert all(one.minimum == pytest.approx(-one.maximum, abs=1e-4) for one in found.values())


def test_left_out_layers_stay_as_they_are(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = applied(model, context_for(model, tmp_path), exclude=["classes", "features"])

    assert list(ranges_of(outcome.model)) == ["hidden"]
    assert outcome.facts["points"] == 1


def test_a_layer_that_is_fused_with_the_next_is_named(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = applied(model, context_for(model, tmp_path), include=["conv"])

    assert [skip.layer for skip in outcome.skipped] == ["conv"]
    assert "after it" in outcome.skipped[0].reason
    assert any("No activation" in warning for warning in outcome.warnings)


def test_a_second_step_adds_to_the_first(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    first = applied(model, context, include=["hidden"]).model
    both = ranges_of(applied(first, context, include=["features"], num_bits=4).model)

    assert {name: one.num_bits for name, one in both.items()} == {"features": 4, "hidden": 8}


@pytest.mark.parametrize("name", ["power_of_two", "mu_law", "codebook"])
def test_other_mappings_keep_ranges_of_an_earlier_step_elsewhere(name: str, tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    first = applied(model, context).model
    earlier = ranges_of(first)
    asked = {**CHOICES[name], "exclude": ["picture"]}

    both = applied(first, context, **asked).model

    assert ranges_of(both)["picture"] == earlier["picture"]
    (alone,) = outputs_of(applied(model, context, **asked).model, rows_for(model, 8))
    assert not np.array_equal(outputs_of(both, rows_for(model, 8))[0], alone)
    both.save(tmp_path / "both.keras")
    keras.saving.load_model(tmp_path / "both.keras")


def test_the_report_says_what_executes_it(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)

    executed = applied(model, context)
    simulated = applied(model, context, num_bits=4, mapping="codebook")

    assert executed.facts["executed_by"] == "tflite"
    assert not any("No runtime" in warning for warning in executed.warnings)
    assert simulated.facts["executed_by"] is None
    assert any("No runtime executes 4-bit codebook" in text for text in simulated.warnings)


def test_the_report_says_how_much_rounding_changes(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)

    noise = {
        bits: applied(model, context, num_bits=bits).facts["rounded"]["picture"] for bits in (4, 8)
    }

    # Four bits less: 4 x 6 dB closer to the values.
    assert noise[8]["signal_to_noise_db"] - noise[4]["signal_to_noise_db"] > 15


@pytest.mark.parametrize("name", ["linear", "codebook"])
def test_a_rounded_model_can_be_trained_further(name: str, tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    rounded = applied(model, context, **CHOICES[name]).model

    trained = fine_tuning.apply(step("fine_tuning", epochs=1), rounded, context).model

    before, after = rounded.get_layer("conv").kernel, trained.get_layer("conv").kernel
    assert np.abs(np.asarray(before) - np.asarray(after)).max() > 0


@pytest.mark.parametrize("name", ["linear", "codebook"])
def test_an_uploaded_rounded_model_can_be_folded_or_says_why_not(name: str, tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    rounded = applied(model, context, **CHOICES[name]).model

    folded = batch_norm_folding.apply(step("batch_norm_folding"), rounded, context).model

    inputs = rows_for(model, 8)
    (ours,), (theirs,) = outputs_of(folded, inputs), outputs_of(rounded, inputs)
    np.testing.assert_allclose(ours, theirs, atol=0.2)
    with pytest.raises(StepFailed, match="no rule for"):
        channel_pruning.apply(step("channel_pruning", pruning_ratio=0.5), rounded, context)


def test_synthetic_inputs_need_no_data_and_are_called_so(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = replace(context_for(model, tmp_path), data=None, tasks=())

    outcome = applied(model, context, calibration_data="synthetic", calibration_samples=8)

    assert len(ranges_of(outcome.model)) == 4
    assert outcome.facts["calibration_data"] == "synthetic"
    assert outcome.facts["statistics_off_after"] < 0.5 * outcome.facts["statistics_off_before"]
    assert any("synthetic" in warning for warning in outcome.warnings)


def test_synthetic_inputs_need_batch_normalization(tmp_path: Path) -> None:
    model = dense_model()

    with pytest.raises(StepFailed, match="BatchNormalization"):
        applied(model, context_for(model, tmp_path), calibration_data="synthetic")


def test_recurrent_models_are_refused(tmp_path: Path) -> None:
    model = recurrent_model()

    with pytest.raises(StepFailed, match="recurrent"):
        applied(model, context_for(model, tmp_path))


def test_a_layer_that_overflows_is_named(tmp_path: Path) -> None:
    model = dense_model()
    kernel = model.get_layer("hidden").kernel
    kernel.assign(np.full(kernel.shape, 3e38, np.float32))

    with pytest.raises(StepFailed, match="NaN or infinity") as failed:
        applied(model, context_for(model, tmp_path))

    assert failed.value.layer == "hidden"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.full((3, 4), np.nan, np.float32), "NaN"),
        (np.full((3, 4), np.inf, np.float32), "infinity"),
        (np.zeros((3, 5), np.float32), "shape"),
    ],
)
def test_calibration_rows_that_cannot_be_used_are_refused(rows: Any, words: str) -> None:
    with pytest.raises(DataNotUsable, match=words):
        observed(dense_model(), {"features": rows}, never_cancelled)
