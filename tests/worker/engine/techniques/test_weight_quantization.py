"""Quantized models: on which values, at what cost, and what is left as it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import StepFailed
from tests.builders import (
    MODELS,
    branched_model,
    context_for,
    conv_model,
    dense_model,
    embedding_model,
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
    step,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.source import KerasSource
from worker.engine.loading.splits import Column, Split
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.quantizing.levels import Grid, held
from worker.engine.quantizing.weights import rows as rows_module
from worker.engine.quantizing.weights.rows import calibration_rows
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import assign_weights, named_weights
from worker.engine.techniques import technique
from worker.engine.techniques.weight_quantization import apply
from worker.engine.training.evaluation import evaluate

layers = keras.layers


def quantized(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    return apply(step("weight_quantization", **parameters), model, context)


def kernel_of(model: Any, name: str) -> NDArray[Any]:
    values: NDArray[Any] = named_weights(model)[name].numpy()
    return values


def with_kernel(values: list[list[float]]) -> Any:
    """One Dense called `only` with this kernel."""
    kernel = np.array(values, np.float32)
    given = keras.Input((len(kernel),), name="features")
    model = keras.Model(given, layers.Dense(kernel.shape[1], name="only")(given))
    assign_weights(model, {"only/kernel": kernel})
    return model


KERNEL = [[1.0, 0.3], [-0.4, 0.0], [0.24, -0.06]]


@pytest.mark.parametrize(
    ("parameters", "scale", "numbers"),
    [
        ({"num_bits": 3}, [[1 / 3, 0.1]], [[3, 3], [-1, 0], [1, -1]]),
        ({"num_bits": 3, "granularity": "per_tensor"}, [[1 / 3]], [[3, 1], [-1, 0], [1, 0]]),
        (
            {"num_bits": 3, "granularity": "per_group", "group_size": 2},
            [[1 / 3, 0.1], [0.08, 0.02]],
            [[3, 3], [-1, 0], [3, -3]],
        ),
        (
            {"num_bits": 2, "symmetric": False, "granularity": "per_tensor"},
            [[1.4 / 3]],
            [[1, 0], [-2, -1], [0, -1]],
        ),
        ({"num_bits": 2}, [[1.0, 0.3]], [[1, 1], [0, 0], [0, 0]]),
        (
            {"num_bits": 3, "rounding": "integer", "integer_scaling": "none"},
            [[1.0]],
            [[1, 0], [0, 0], [0, 0]],
        ),
    ],
    ids=["per channel", "per tensor", "per group", "affine", "2 bits", "whole numbers"],
)
def test_kernel_lies_on_the_grid_one_works_out_by_hand(
    parameters: dict[str, Any], scale: Any, numbers: Any, tmp_path: Path
) -> None:
    model = with_kernel(KERNEL)

    outcome = quantized(model, context_for(model, tmp_path), **parameters)

    grid = outcome.levels["only/kernel"]
    assert isinstance(grid, Grid)
    np.testing.assert_allclose(grid.scale, scale, rtol=1e-6)
    found = grid.numbers(kernel_of(outcome.model, "only/kernel"))
    assert found is not None
    np.testing.assert_array_equal(found, numbers)


EVERY_WAY: list[dict[str, Any]] = [
    {},
    {"num_bits": 2, "granularity": "per_tensor", "symmetric": False, "bias_correction": True},
    {"num_bits": 4, "granularity": "per_group", "group_size": 4, "range": "percentile"},
    {"num_bits": 5, "rounding": "stochastic", "symmetric": False, "range": "mse"},
    {"num_bits": 3, "rounding": "adaptive", "equalization": True, "bias_correction": True},
]


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_every_kernel_of_any_model_lies_exactly_on_its_grid(kind: str, tmp_path: Path) -> None:
    model = randomized(MODELS[kind]())
    context = context_for(model, tmp_path)
    kernels = {name for name in named_weights(model) if "kernel" in name or "embeddings" in name}

    for parameters in EVERY_WAY:
        outcome = quantized(model, context, **parameters)

        assert set(outcome.levels) == kernels, parameters
        assert set(held(outcome.levels, outcome.model)) == kernels, parameters
        assert json.dumps(outcome.facts)
        assert all(np.isfinite(out).all() for out in outputs_of(outcome.model, rows_for(model, 4)))


@pytest.mark.parametrize("rounding", ["stochastic", "adaptive"])
def test_same_seed_gives_the_same_weights_and_chance_another_one(
    rounding: str, tmp_path: Path
) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    parameters = {"num_bits": 3, "rounding": rounding}

    one, same, other = (
        quantized(model, replace(context, seed=seed), **parameters).model.get_weights()
        for seed in (1, 1, 2)
    )

    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    if rounding == "stochastic":
        assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("parameters", [*EVERY_WAY, {"rounding": "integer", "num_bits": 3}])
def test_pruned_zeros_stay_zero(parameters: dict[str, Any], tmp_path: Path) -> None:
    model = randomized(dense_model())
    kernel = kernel_of(model, "hidden/kernel")
    kernel[::2] = 0
    assign_weights(model, {"hidden/kernel": kernel})
    masks = {"hidden/kernel": kernel != 0}

    outcome = quantized(model, replace(context_for(model, tmp_path), masks=masks), **parameters)

    assert not kernel_of(outcome.model, "hidden/kernel")[::2].any()
    assert outcome.masks is masks


def test_8_bits_per_channel_are_what_an_int8_tensor_of_tflite_holds(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = quantized(model, context_for(model, tmp_path))

    for name, grid in outcome.levels.items():
        assert isinstance(grid, Grid)
        numbers = grid.numbers(kernel_of(outcome.model, name))
        assert numbers is not None
        assert abs(numbers).max() == 127
        assert not grid.zero_point.any()
        assert grid.scale.size == numbers.shape[-1]


@pytest.mark.parametrize(
    "parameters", [{}, {"num_bits": 3, "rounding": "adaptive", "symmetric": False}]
)
def test_an_int8_tflite_file_holds_the_integers(parameters: dict[str, Any], tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    outcome = quantized(model, context, **parameters)
    grid = outcome.levels["hidden/kernel"]
    assert isinstance(grid, Grid)

    file = technique("full_integer_quantization").convert(
        step("full_integer_quantization"),
        KerasSource(outcome.model, tmp_path, {}, outcome.levels),
        replace(context, levels=outcome.levels),
    )

    assert file.facts["weights_on_their_levels"] == 2
    stored = [tensor.values for tensor in read_tflite(file.content).weights]
    kernel = kernel_of(outcome.model, "hidden/kernel").T
    (found,) = (values for values in stored if values.shape == kernel.shape)
    np.testing.assert_allclose(found, kernel, rtol=1e-6)


def test_an_embedding_table_is_quantized_column_by_column(tmp_path: Path) -> None:
    model = randomized(embedding_model())

    outcome = quantized(model, context_for(model, tmp_path), rounding="adaptive")

    assert outcome.facts["kernels"]["words/embeddings"]["block"] == [20, 1]
    assert "picks one row" in outcome.facts["kernels"]["words/embeddings"]["rounded_alone"]


def test_layers_that_are_left_out_are_named_and_stay(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = quantized(model, context_for(model, tmp_path), exclude=["logits"])

    assert [(skip.layer, skip.reason) for skip in outcome.skipped] == [
        ("logits", "not chosen by the recipe")
    ]
    np.testing.assert_array_equal(
        kernel_of(outcome.model, "logits/kernel"), kernel_of(model, "logits/kernel")
    )


def test_nothing_to_quantize_is_a_failure(tmp_path: Path) -> None:
    model = conv_model()

    with pytest.raises(StepFailed, match="no layer can be quantized: conv: not chosen"):
        quantized(model, context_for(model, tmp_path), exclude=["conv", "logits"])


def test_weights_that_are_no_numbers_fail_with_the_layer(tmp_path: Path) -> None:
    model = with_kernel([[1.0], [np.nan]])

    with pytest.raises(StepFailed, match="only/kernel holds NaN") as raised:
        quantized(model, context_for(with_kernel([[1.0], [1.0]]), tmp_path))

    assert raised.value.layer == "only"


def test_rows_that_a_layer_makes_infinite_fail_with_the_layer(tmp_path: Path) -> None:
    model = dense_model()
    huge = np.full((4, 8), 3e38, np.float32)
    context = context_for(model, tmp_path)
    assign_weights(model, {"hidden/kernel": huge})

    with pytest.raises(StepFailed, match="what layer 'classes' is given") as raised:
        quantized(model, context, bias_correction=True)

    assert raised.value.layer == "classes"
    assert "without rows" in (raised.value.hint or "")


def test_integer_rounding_says_what_whole_numbers_and_scaled_ones_cost(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    outcome = quantized(model, context, rounding="integer", num_bits=4)

    costs = outcome.facts["integer_scaling"]
    assert costs["range"]["mean_squared_error"] < costs["none"]["mean_squared_error"]
    assert costs["none"]["zero_weights"] > 0.3
    for scaling in ("none", "range"):
        alone = quantized(model, context, rounding="integer", num_bits=4, integer_scaling=scaling)
        validation = context.validation_of(step("weight_quantization"))
        assert validation is not None
        score = evaluate(alone.model, validation, context.tasks, context.check_cancelled).score
        assert costs[scaling]["validation_score"] == score
        assert alone.facts["kept_scaling"] == scaling
        if scaling == outcome.facts["kept_scaling"]:
            for kept, same in zip(
                outcome.model.get_weights(), alone.model.get_weights(), strict=True
            ):
                np.testing.assert_array_equal(kept, same)


def test_integer_rounding_keeps_the_smaller_error_where_there_are_no_labels(
    tmp_path: Path,
) -> None:
    model = randomized(dense_model())
    context = replace(context_for(model, tmp_path), data=None, tasks=())

    outcome = quantized(model, context, rounding="integer")

    assert outcome.facts["kept_scaling"] == "range"
    assert outcome.facts["integer_scaling"]["none"]["validation_score"] is None
    assert outcome.facts["kept_because"] == "it has the smaller squared error"


def correlated_rows(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """256 rows whose 16 features go up and down together, as those of real data do, with classes.

    A row is a mixture of three numbers, and its class says which of these is the largest.
    """
    mixture = np.random.default_rng(0).standard_normal((3, 16))
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((256, 3))
    rows = causes @ mixture + 0.1 * rng.standard_normal((256, 16))
    return rows.astype(np.float32), causes.argmax(axis=1)


def correlated_context(model: Any, folder: Path) -> StepContext:
    rows, classes = correlated_rows(seed=1)
    context = context_for(model, folder)
    assert context.data is not None
    column = Column(rows, rows.shape[1:], np.dtype(np.float32))
    train = Split({"features": column}, {"classes": classes}, np.arange(256))
    return replace(context, data=replace(context.data, train=train))


def two_layers() -> Any:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((16,), name="features"),
            layers.Dense(24, activation="relu", name="hidden"),
            layers.Dense(3, name="classes"),
        ]
    )


def test_adaptive_rounding_of_a_trained_net_keeps_outputs_nearer_on_rows_it_never_saw(
    tmp_path: Path,
) -> None:
    model = two_layers()
    rows, classes = correlated_rows(seed=1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(rows, classes, epochs=3, batch_size=16, verbose=0)
    fresh, _ = correlated_rows(seed=2)
    before = np.asarray(model(fresh))
    context = correlated_context(model, tmp_path)

    errors = {}
    for rounding in ("nearest", "adaptive"):
        now = np.asarray(quantized(model, context, num_bits=3, rounding=rounding).model(fresh))
        errors[rounding] = float(np.square(now - before).mean())

    assert errors["adaptive"] < 0.5 * errors["nearest"]


def test_adaptive_rounding_reports_the_output_errors_it_looked_at(tmp_path: Path) -> None:
    model = two_layers()

    outcome = quantized(model, correlated_context(model, tmp_path), num_bits=3, rounding="adaptive")

    for facts in outcome.facts["kernels"].values():
        assert 0 < facts["output_error"] < 0.7 * facts["output_error_of_nearest"]
    assert outcome.facts["calibration_samples"] == 230


def test_recurrent_kernels_are_rounded_to_nearest_and_say_so(tmp_path: Path) -> None:
    model = randomized(recurrent_model())
    context = context_for(model, tmp_path)

    outcome = quantized(model, context, num_bits=4, rounding="adaptive")

    plain = quantized(model, context, num_bits=4)
    name = "halves/recurrent_kernel"
    np.testing.assert_array_equal(kernel_of(outcome.model, name), kernel_of(plain.model, name))
    assert "cannot be looked at" in outcome.facts["kernels"][name]["rounded_alone"]
    assert "output_error" in outcome.facts["kernels"]["classes/kernel"]


def test_bias_correction_brings_mean_outputs_back(tmp_path: Path) -> None:
    model = two_layers()
    context = correlated_context(model, tmp_path)
    rows = calibration_rows(model, context, 1024)
    given = np.concatenate(rows.inputs[0])
    before = np.asarray(model(given)).mean(axis=0)

    shifts = {
        corrected: np.abs(
            np.asarray(
                quantized(model, context, num_bits=2, bias_correction=corrected).model(given)
            ).mean(axis=0)
            - before
        )
        for corrected in (False, True)
    }

    assert shifts[False].max() > 0.01
    np.testing.assert_allclose(shifts[True], 0, atol=1e-5)


def test_bias_correction_says_where_there_is_no_bias(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = quantized(model, context_for(model, tmp_path), bias_correction=True)

    corrections = outcome.facts["bias_correction"]
    assert not corrections["conv/kernel"]["corrected"]
    assert "batch_norm_folding" in corrections["conv/kernel"]["because"]
    assert corrections["logits/kernel"]["corrected"]


@pytest.mark.parametrize(("bias_axes", "is_corrected"), [("d", True), ("bd", False)])
def test_the_bias_of_an_einsum_is_corrected_where_it_belongs_to_the_outputs(
    bias_axes: str, is_corrected: bool, tmp_path: Path
) -> None:
    given = keras.Input((3, 4), name="given")
    product = layers.EinsumDense("abc,cd->abd", (3, 5), bias_axes=bias_axes, name="product")
    model = randomized(keras.Model(given, layers.Flatten()(product(given))))
    context = context_for(model, tmp_path)
    rows = calibration_rows(model, context, 1024)
    inputs = np.concatenate(rows.inputs[0])

    outcome = quantized(model, context, num_bits=2, bias_correction=True)

    assert outcome.facts["bias_correction"]["product/kernel"]["corrected"] == is_corrected
    if is_corrected:
        before, after = (
            np.asarray(which(inputs)).reshape(-1, 5).mean(axis=0)
            for which in (model, outcome.model)
        )
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_shared_layer_is_calibrated_on_all_its_uses(tmp_path: Path) -> None:
    model = randomized(branched_model())
    context = context_for(model, tmp_path)

    outcome = quantized(model, context, num_bits=2, bias_correction=True)

    plain = quantized(model, context, num_bits=2)
    rows = calibration_rows(model, context, 1024)
    inputs = np.concatenate([np.concatenate(side) for side in rows.inputs])
    lost = inputs @ (kernel_of(model, "shared/kernel") - kernel_of(plain.model, "shared/kernel"))
    moved = kernel_of(outcome.model, "shared/bias") - kernel_of(model, "shared/bias")
    np.testing.assert_allclose(moved, lost.mean(axis=0), atol=1e-5)


def test_calibration_takes_fewer_rows_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = randomized(dense_model())
    monkeypatch.setattr(rows_module, "BUDGET_BYTES", 10 * 4 * 8 * 4)

    outcome = quantized(model, context_for(model, tmp_path), rounding="adaptive")

    assert outcome.facts["calibration_samples"] == 10
    assert any("calibrated on 10 rows, not on 1024" in warning for warning in outcome.warnings)


def test_calibration_rows_are_none_of_those_that_judge(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    validation = context.validation_of(step("weight_quantization"))
    assert validation is not None

    rows = calibration_rows(model, context, 100_000)

    seen = {row.tobytes() for row in np.concatenate(rows.inputs[0])}
    judged = {row.tobytes() for row in validation.take(1000)["features"]}
    assert len(seen) == rows.count
    assert not seen & judged


def test_a_group_larger_than_all_inputs_is_said_to_be_the_channel(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = quantized(model, context_for(model, tmp_path), granularity="per_group", group_size=6)

    (warning,) = outcome.warnings
    assert "hidden/kernel: there each channel has one scale" in warning
    assert outcome.facts["kernels"]["classes/kernel"]["scales"] == 2 * 3


def test_facts_count_bytes_of_integers_and_scales(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = quantized(model, context_for(model, tmp_path), num_bits=3, symmetric=False)

    facts = outcome.facts["kernels"]["hidden/kernel"]
    assert facts["integer_bytes"] == 4 * 8 * 3 // 8
    assert facts["scale_bytes"] == 8 * 4 + 8
    assert outcome.facts["float32_bytes"] == 4 * (4 * 8 + 8 * 3)
    before, after = (
        kernel_of(which, "hidden/kernel").astype(np.float64) for which in (model, outcome.model)
    )
    noise = np.square(before - after).sum()
    assert facts["sqnr_db"] == pytest.approx(10 * np.log10(np.square(before).sum() / noise))


def test_quantizing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    once = quantized(model, context, num_bits=4)

    twice = quantized(once.model, context, num_bits=4)

    for one, two in zip(once.model.get_weights(), twice.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)
    assert twice.facts["kernels"]["conv/kernel"]["sqnr_db"] is None or (
        twice.facts["kernels"]["conv/kernel"]["sqnr_db"] > 100
    )


def test_equalization_belongs_to_the_model_before_quantization(tmp_path: Path) -> None:
    model = two_layers()
    uneven = np.geomspace(0.01, 1, 24, dtype=np.float32)
    assign_weights(
        model,
        {
            "hidden/kernel": kernel_of(model, "hidden/kernel") * uneven,
            "classes/kernel": kernel_of(model, "classes/kernel") / uneven[:, None],
        },
    )
    context = context_for(model, tmp_path)
    parameters = {"num_bits": 4, "granularity": "per_tensor"}
    rows = rows_for(model, 64)
    (before,) = outputs_of(model, rows)

    plain, equal = (
        quantized(model, context, **parameters, equalization=asked) for asked in (False, True)
    )

    errors = [np.abs(outputs_of(one.model, rows)[0] - before).mean() for one in (plain, equal)]
    assert errors[1] < 0.3 * errors[0]
    assert equal.facts["equalized"][0]["first"] == "hidden"
    assert "hidden/kernel" in equal.lineage.foreign
    assert "hidden/kernel" not in plain.lineage.foreign


def test_given_model_is_left_alone_by_equalization(tmp_path: Path) -> None:
    model = two_layers()
    before = clone_with_weights(model)

    quantized(model, context_for(model, tmp_path), equalization=True)

    for one, same in zip(model.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
