"""Going back to the uploaded weights: after surgery they are those that survived it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import (
    MODELS,
    context_for,
    conv_model,
    dense_model,
    outputs_of,
    randomized,
    rows_for,
    step,
)
from tests.residual import residual_model
from worker.engine.context import StepContext
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import technique

REWIND = step("initialization", scheme="pretrained")
TRAIN = {"epochs": 1, "learning_rate": 0.05, "batch_size": 24}


class Recipe:
    """Carries out steps one after another, each on what the last one left."""

    def __init__(self, uploaded: Any, folder: Path) -> None:
        self.uploaded = uploaded
        self.model = uploaded
        self.context: StepContext = context_for(uploaded, folder)
        self.facts: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}

    def then(self, asked: Any) -> "Recipe":
        outcome = technique(asked.technique).apply(asked, self.model, self.context)
        self.model = outcome.model
        self.context = replace(self.context, masks=outcome.masks, lineage=outcome.lineage)
        self.facts = outcome.facts
        self.skipped = {skip.layer: skip.reason for skip in outcome.skipped}
        return self

    def weights(self) -> dict[str, Any]:
        return {name: weight.numpy() for name, weight in named_weights(self.model).items()}

    def assert_rewinding_changes_nothing(self) -> None:
        before = self.weights()
        rows = rows_for(self.uploaded, 5)
        outputs = outputs_of(self.model, rows)
        self.then(REWIND)
        for name, values in self.weights().items():
            np.testing.assert_array_equal(values, before[name], err_msg=name)
        for now, was in zip(outputs_of(self.model, rows), outputs, strict=True):
            np.testing.assert_array_equal(now, was)


def convolutions() -> Any:
    """6x6 pictures -> `conv` (8) -> `norm` -> flatten -> `hidden` (12) -> 3 classes."""
    keras.utils.set_random_seed(31)
    picture = keras.Input((6, 6, 1), name="picture")
    x = keras.layers.Conv2D(8, 3, name="conv")(picture)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Dense(12, activation="relu", name="hidden")(keras.layers.Flatten()(x))
    return randomized(keras.Model(picture, keras.layers.Dense(3, name="logits")(x)))


def pruning(importance: str = "random", **parameters: Any) -> Any:
    return step("channel_pruning", importance=importance, **{"pruning_ratio": 0.5, **parameters})


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "bn_scale", "random"])
def test_rewinding_after_untrained_pruning_changes_nothing(importance: str, tmp_path: Path) -> None:
    recipe = Recipe(convolutions(), tmp_path).then(pruning(importance))

    assert recipe.weights()["conv/kernel"].shape[-1] < 8
    recipe.assert_rewinding_changes_nothing()


@pytest.mark.parametrize("kind", ["branched", "nested", "recurrent"])
def test_rewinding_finds_units_of_every_kind_of_layer(kind: str, tmp_path: Path) -> None:
    recipe = Recipe(randomized(MODELS[kind]()), tmp_path).then(pruning())

    assert recipe.model.count_params() < recipe.uploaded.count_params()
    recipe.assert_rewinding_changes_nothing()


def test_rewinding_after_pruning_twice_changes_nothing(tmp_path: Path) -> None:
    recipe = Recipe(convolutions(), tmp_path)
    for importance in ("taylor", "random"):
        recipe.then(pruning(importance, pruning_ratio=0.3))

    recipe.assert_rewinding_changes_nothing()


def test_rewinding_after_several_rounds_finds_the_channels_of_the_last(tmp_path: Path) -> None:
    # Rounds train in between; at such a rate nothing but the statistics of `norm` moves.
    recovery = {"epochs": 3, "learning_rate": 1e-9}
    recipe = Recipe(convolutions(), tmp_path)
    recipe.then(pruning("taylor", steps=3, recovery=recovery))
    before = recipe.weights()

    recipe.then(REWIND)

    for name in ("conv/kernel", "norm/gamma", "hidden/kernel", "logits/kernel"):
        np.testing.assert_allclose(recipe.weights()[name], before[name], atol=1e-6, err_msg=name)


def test_rewinding_after_training_gives_the_uploaded_channels_that_survived(
    tmp_path: Path,
) -> None:
    untrained = Recipe(convolutions(), tmp_path).then(pruning("taylor"))
    trained = Recipe(untrained.uploaded, tmp_path).then(pruning("taylor", recovery=TRAIN))
    assert not np.array_equal(trained.weights()["conv/kernel"], untrained.weights()["conv/kernel"])

    trained.then(REWIND)

    assert set(trained.facts["sliced_layers"]) == {"conv", "norm", "hidden", "logits"}
    for name, values in untrained.weights().items():
        np.testing.assert_array_equal(trained.weights()[name], values, err_msg=name)


def test_rewinding_after_pruning_and_layer_removal_changes_nothing(tmp_path: Path) -> None:
    recipe = Recipe(randomized(residual_model()), tmp_path).then(pruning())
    recipe.then(step("layer_removal", layers=["add_1"], recovery=None))

    assert "conv_1_1/kernel" not in recipe.weights()
    recipe.assert_rewinding_changes_nothing()


def test_rewinding_keeps_the_zeros_of_the_channels_that_survived(tmp_path: Path) -> None:
    recipe = Recipe(convolutions(), tmp_path)
    recipe.then(step("magnitude_pruning", sparsity=0.5)).then(pruning("taylor"))
    before = recipe.weights()

    recipe.then(step("fine_tuning", **TRAIN)).then(REWIND)

    assert (before["conv/kernel"] == 0).any()
    for name, values in recipe.weights().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)


def test_rewinding_leaves_a_bridge_and_says_so(tmp_path: Path) -> None:
    recipe = Recipe(randomized(conv_model()), tmp_path)
    recipe.then(step("layer_removal", layers=["conv"], bridge=True, recovery=None))
    before = recipe.weights()

    recipe.then(REWIND)

    assert list(recipe.skipped) == ["conv_bridge"]
    assert "layer_removal put in" in recipe.skipped["conv_bridge"]
    assert set(recipe.facts["taken_layers"]) == {"logits"}
    for name, values in recipe.weights().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)


def test_rewinding_leaves_what_a_normalization_was_folded_into(tmp_path: Path) -> None:
    recipe = Recipe(convolutions(), tmp_path).then(pruning())

    recipe.then(step("batch_norm_folding")).assert_rewinding_changes_nothing()

    assert list(recipe.skipped) == ["conv"]
    assert "folded" in recipe.skipped["conv"]


def test_rewinding_of_folded_layers_alone_is_refused(tmp_path: Path) -> None:
    recipe = Recipe(randomized(conv_model()), tmp_path).then(step("batch_norm_folding"))

    with pytest.raises(StepFailed, match="conv: a normalization was folded into it"):
        recipe.then(step("initialization", scheme="pretrained", include=["conv"]))


def test_rewinding_of_a_narrow_student_takes_what_it_inherited(tmp_path: Path) -> None:
    asked = {"student": "width", "width_multiplier": 0.5, **TRAIN}
    recipe = Recipe(convolutions(), tmp_path).then(pruning("random"))
    norms = np.abs(recipe.weights()["conv/kernel"]).sum(axis=(0, 1, 2))
    kept = np.sort(np.argsort(-norms, kind="stable")[: round(len(norms) / 2)])
    inherited = recipe.weights()["conv/kernel"][..., kept]

    recipe.then(step("distillation", **asked)).then(REWIND)

    np.testing.assert_array_equal(recipe.weights()["conv/kernel"], inherited)


def test_student_that_starts_as_its_teacher_takes_the_channels_that_survived(
    tmp_path: Path,
) -> None:
    recipe = Recipe(convolutions(), tmp_path).then(pruning("random"))
    before = recipe.weights()

    recipe.then(step("distillation", initialization="pretrained", epochs=1, learning_rate=1e-9))

    for name in ("conv/kernel", "hidden/kernel", "logits/kernel"):
        np.testing.assert_allclose(recipe.weights()[name], before[name], atol=1e-6)


def test_student_built_elsewhere_is_paired_and_not_rewound(tmp_path: Path) -> None:
    recipe = Recipe(randomized(dense_model()), tmp_path)
    small = keras.Sequential(
        [
            keras.Input((4,), name="given"),
            keras.layers.Dense(3, activation="relu", name="hidden"),
            keras.layers.Dense(3, activation="softmax", name="end"),
        ]
    )
    others: Callable[[str], Any] = {"mdl_small": small}.__getitem__
    recipe.context = replace(recipe.context, load_model=others)
    asked = {"student": "model", "student_model_id": "mdl_small", **TRAIN}

    recipe.then(step("distillation", **asked))

    assert not recipe.context.lineage.descends
    recipe.then(REWIND)
    # Of 8 uploaded units the 3 with the largest L1 norm.
    uploaded = named_weights(recipe.uploaded)["hidden/kernel"].numpy()
    best = np.sort(np.argsort(-np.abs(uploaded).sum(axis=0))[:3])
    np.testing.assert_array_equal(recipe.weights()["hidden/kernel"], uploaded[:, best])
