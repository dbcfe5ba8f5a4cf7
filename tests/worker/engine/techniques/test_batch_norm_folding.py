"""Folding against the model it came from, in float64 with random statistics."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import (
    context_for,
    conv_model,
    outputs_of,
    randomized,
    rows_for,
    step,
    with_masks,
)
from worker.engine.context import Masks, StepContext, StepOutcome
from worker.engine.loading.models import OtherModels
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import batch_norm_folding, magnitude_pruning

LAYERS = keras.layers
PICTURE, SEQUENCE = (6, 6, 4), (6, 4)


@pytest.fixture
def float64() -> Iterator[None]:
    """Rounding of float32 would hide a small mistake."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def folded(model: Any, masks: Masks | None = None, **parameters: Any) -> StepOutcome:
    context = StepContext(
        seed=0,
        data=None,
        tasks=(),
        masks=masks or {},
        report_progress=lambda fraction, message, **metrics: None,
        check_cancelled=lambda: None,
        baseline=model,
        load_model=OtherModels({}),
        scratch=Path(),
    )
    return batch_norm_folding.apply(step("batch_norm_folding", **parameters), model, context)


def assert_same(model: Any, outcome: StepOutcome) -> None:
    inputs = {name: rows.astype("float64") for name, rows in rows_for(model, 5).items()}
    before, after = outputs_of(model, inputs), outputs_of(outcome.model, inputs)
    for was, now in zip(before, after, strict=True):
        assert was.std() > 1e-3
        np.testing.assert_allclose(now, was, rtol=1e-10, atol=1e-12)


def norms(model: Any) -> int:
    return sum(isinstance(layer, LAYERS.BatchNormalization) for layer in model.layers)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("shape", "layer", "arguments"),
    [
        ((4,), LAYERS.Dense, {"units": 3}),
        (SEQUENCE, LAYERS.Dense, {"units": 3}),
        (SEQUENCE, LAYERS.Conv1D, {"filters": 3, "kernel_size": 2}),
        (PICTURE, LAYERS.Conv2D, {"filters": 3, "kernel_size": 2}),
        (PICTURE, LAYERS.Conv2D, {"filters": 6, "kernel_size": 2, "groups": 2}),
        ((4, 4, 4, 2), LAYERS.Conv3D, {"filters": 3, "kernel_size": 2}),
        (SEQUENCE, LAYERS.DepthwiseConv1D, {"kernel_size": 2, "depth_multiplier": 2}),
        (PICTURE, LAYERS.DepthwiseConv2D, {"kernel_size": 2, "depth_multiplier": 3}),
        (PICTURE, LAYERS.SeparableConv2D, {"filters": 3, "kernel_size": 2}),
        (PICTURE, LAYERS.Conv2DTranspose, {"filters": 3, "kernel_size": 2}),
        (SEQUENCE, LAYERS.Conv1DTranspose, {"filters": 3, "kernel_size": 2}),
    ],
)
def test_apply_folds_exactly_into(
    shape: tuple[int, ...], layer: Any, arguments: dict[str, Any], use_bias: bool
) -> None:
    model = randomized(
        keras.Sequential(
            [
                keras.Input(shape),
                layer(**arguments, use_bias=use_bias),
                LAYERS.BatchNormalization(),
                LAYERS.ReLU(),
            ]
        )
    )

    outcome = folded(model)

    assert norms(outcome.model) == 0
    assert outcome.skipped == ()
    assert_same(model, outcome)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("missing", ["scale", "center"])
def test_apply_folds_a_normalization_without(missing: str) -> None:
    norm = LAYERS.BatchNormalization(**{missing: False})
    model = randomized(keras.Sequential([keras.Input((4,)), LAYERS.Dense(3), norm, LAYERS.ReLU()]))

    assert_same(model, folded(model))


@pytest.mark.usefixtures("float64")
def test_apply_folds_in_a_graph_with_a_shortcut() -> None:
    picture = keras.Input(PICTURE, name="picture")
    x = LAYERS.Conv2D(4, 3, padding="same", use_bias=False)(picture)
    x = LAYERS.BatchNormalization(name="first")(x)
    y = LAYERS.Conv2D(4, 3, padding="same", use_bias=False)(LAYERS.ReLU()(x))
    y = LAYERS.BatchNormalization(name="second")(y)
    model = randomized(keras.Model(picture, LAYERS.Add(name="sum")([x, y])))

    outcome = folded(model)

    assert outcome.facts["folded"] == ["first", "second"]
    assert_same(model, outcome)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("calls", [1, 2])
def test_apply_folds_inside_a_nested_model_however_often_it_is_called(calls: int) -> None:
    inside = keras.Input((4,))
    inner = LAYERS.BatchNormalization(name="norm")(LAYERS.Dense(4, name="dense")(inside))
    block = keras.Model(inside, inner, name="block")
    x = features = keras.Input((4,), name="features")
    for _ in range(calls):
        x = block(x)
    model = randomized(keras.Model(features, LAYERS.ReLU()(x)))

    outcome = folded(model)

    assert outcome.facts["folded"] == ["block/norm"]
    assert_same(model, outcome)


@pytest.mark.usefixtures("float64")
def test_apply_folds_inside_a_nested_sequential() -> None:
    block = keras.Sequential(
        [keras.Input((4,)), LAYERS.Dense(3), LAYERS.BatchNormalization(name="norm")], name="block"
    )
    model = randomized(keras.Sequential([keras.Input((4,)), block, LAYERS.Dense(2, name="end")]))

    outcome = folded(model)

    assert outcome.facts["folded"] == ["block/norm"]
    assert_same(model, outcome)


def graph_of(build: Any) -> Any:
    picture = keras.Input(PICTURE, name="picture")
    return randomized(keras.Model(picture, build(picture)))


def norm_after_relu(picture: Any) -> Any:
    x = LAYERS.Conv2D(3, 2, activation="relu", name="conv")(picture)
    return LAYERS.Flatten()(LAYERS.BatchNormalization(name="norm")(x))


def norm_with_a_second_reader(picture: Any) -> Any:
    x = LAYERS.Conv2D(3, 2, name="conv")(picture)
    return LAYERS.Add()([LAYERS.BatchNormalization(name="norm")(x), x])


def norm_after_a_shared_layer(picture: Any) -> Any:
    conv = LAYERS.Conv2D(4, 2, padding="same", name="conv")
    return LAYERS.ReLU()(LAYERS.BatchNormalization(name="norm")(conv(conv(picture))))


def shared_norm(picture: Any) -> Any:
    norm = LAYERS.BatchNormalization(name="norm")
    first, second = (norm(LAYERS.Conv2D(3, 2)(picture)) for _ in range(2))
    return LAYERS.Add()([first, second])


def norm_after_the_input(picture: Any) -> Any:
    return LAYERS.ReLU()(LAYERS.BatchNormalization(name="norm")(picture))


def norm_after_pooling(picture: Any) -> Any:
    x = LAYERS.MaxPooling2D(name="pool")(LAYERS.Conv2D(3, 2)(picture))
    return LAYERS.ReLU()(LAYERS.BatchNormalization(name="norm")(x))


def norm_as_output(picture: Any) -> Any:
    return LAYERS.BatchNormalization(name="norm")(LAYERS.Conv2D(3, 2)(picture))


def norm_over_another_axis(picture: Any) -> Any:
    x = LAYERS.Conv2D(3, 2, name="conv")(picture)
    return LAYERS.ReLU()(LAYERS.BatchNormalization(axis=1, name="norm")(x))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (norm_after_relu, "'conv' applies relu before it"),
        (norm_with_a_second_reader, "the output of 'conv' is also read elsewhere"),
        (norm_after_a_shared_layer, "the layer before it, 'conv', is shared: used more than once"),
        (shared_norm, "it is shared: used more than once"),
        (norm_after_the_input, "no layer comes before it"),
        (
            norm_after_pooling,
            "the layer before it, 'pool', is a MaxPooling2D: there is no kernel to fold it into",
        ),
        (norm_as_output, "it is an output of the model, whose name would change"),
        (norm_over_another_axis, "it normalizes axis 1, not the channels of 'conv'"),
    ],
)
def test_apply_leaves_and_names(build: Any, reason: str) -> None:
    model = graph_of(build)

    outcome = folded(model)

    assert [(skip.layer, skip.reason) for skip in outcome.skipped] == [("norm", reason)]
    inputs = rows_for(model, 3)
    np.testing.assert_array_equal(
        outputs_of(outcome.model, inputs)[0], outputs_of(model, inputs)[0]
    )


def test_apply_folds_only_what_the_recipe_chooses() -> None:
    model = randomized(conv_model())

    outcome = folded(model, exclude=["norm"])

    assert norms(outcome.model) == 1
    assert outcome.skipped[0].reason == "not chosen by the recipe"


def test_apply_keeps_pruned_weights_zero_and_positive(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    pruned = magnitude_pruning.apply(step("magnitude_pruning", sparsity=0.5), model, context)

    outcome = folded(pruned.model, with_masks(context, pruned.masks).masks)

    kernel = named_weights(outcome.model)["conv/kernel"].numpy()
    dropped = kernel[~outcome.masks["conv/kernel"]]
    assert not dropped.any()
    assert not np.signbit(dropped).any()
    assert outcome.masks == pruned.masks


def test_apply_keeps_the_masks_usable_by_a_later_training(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    pruned = magnitude_pruning.apply(step("magnitude_pruning", sparsity=0.5), model, context)
    outcome = folded(pruned.model, pruned.masks)

    again = magnitude_pruning.apply(
        step("magnitude_pruning", sparsity=0.5, recovery={"epochs": 1}),
        outcome.model,
        with_masks(context, outcome.masks),
    )

    assert again.facts["sparsity"] == 0.5
