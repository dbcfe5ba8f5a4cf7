"""Where ranges are needed, and models that hold them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.uploads.inspector.keras.files import read_keras
from tests.builders import MODELS, outputs_of, randomized, rows_for
from worker.engine.loading.models import heads
from worker.engine.quantizing.fake_quant import (
    Range,
    ranges_of,
    with_fake_quantization,
    without_fake_quantization,
)
from worker.engine.quantizing.points import left_float, points_of
from worker.engine.quantizing.ranged import Elementwise, with_layers_at

pytestmark = pytest.mark.slow

layers = keras.layers


def residual_model() -> Any:
    """A picture through a convolution, a depthwise branch, an addition, poolings and a `tanh`."""
    keras.utils.set_random_seed(8)
    picture = keras.Input((6, 6, 2), name="picture")
    first = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(picture)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(first)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(6.0, name="relu6")(x)
    x = layers.ReLU(name="relu")(layers.Add(name="sum")([first, x]))
    pools = [
        layers.MaxPooling2D(name="largest")(x),
        layers.AveragePooling2D(2, name="average")(x),
    ]
    x = layers.Concatenate(name="both")(pools)
    x = layers.Conv2D(3, 1, activation="tanh", name="tanh")(x)
    x = layers.Flatten(name="flat")(x)
    kind = layers.Dense(3, activation="softmax", name="kind")(x)
    return keras.Model(picture, [kind, layers.Add(name="end")([kind, kind])], name="residual")


def activation_model() -> Any:
    """4 numbers -> `leaky`, whose activation is a layer -> `logits` -> `classes`, an Activation."""
    keras.utils.set_random_seed(9)
    return keras.Sequential(
        [
            keras.Input((4,), name="features"),
            layers.Dense(5, activation=layers.LeakyReLU(), name="leaky"),
            layers.Dense(3, name="logits"),
            layers.Activation("softmax", name="classes"),
        ],
        name="activation_model",
    )


NETS = {
    "activation": activation_model,
    **{name: MODELS[name] for name in MODELS if name != "recurrent"},
    "odd": residual_model,
}


def wide(model: Any) -> dict[str, Range]:
    return {point.name: Range(-30.0, 30.0) for point in points_of(model)}


def test_points_leave_out_tensors_that_the_runtime_never_has() -> None:
    points = {point.name: point for point in points_of(residual_model())}

    assert list(points) == [
        "picture",
        "first",
        "relu6",
        "relu",
        "average",
        "both",
        "tanh:before_activation",
        "tanh",
        "kind:before_activation",
        "kind",
        "end",
    ]
    assert points["tanh"].limits == (-1.0, 127 / 128)
    assert points["kind"].limits == (0.0, 255 / 256)
    assert points["average"].group == points["both"].group == points["relu"].group


def test_points_of_two_calls_of_one_layer_are_two() -> None:
    names = [point.name for point in points_of(MODELS["branched"]())]

    assert {"shared", "shared#1", "left", "right"} <= set(names)


def test_an_input_that_the_model_scales_stays_float() -> None:
    names = [point.name for point in points_of(MODELS["normalization"]())]

    assert names[0] == "scale"


def test_layers_without_an_integer_form_are_named() -> None:
    x = keras.Input((4,))
    y = layers.Dense(4, activation="selu", name="selu")(layers.LayerNormalization(name="norm")(x))
    model = keras.Model(x, layers.BatchNormalization(name="late")(y))

    assert [found.layer for found in left_float(model)] == ["norm", "selu", "late"]


@pytest.mark.parametrize("kind", sorted(NETS))
def test_ranges_survive_a_file_and_leave_the_names(kind: str, tmp_path: Path) -> None:
    model = randomized(NETS[kind]())
    ranges = wide(model)
    path = tmp_path / "model.keras"

    quantized = with_fake_quantization(model, ranges)
    quantized.save(path)
    loaded = keras.saving.load_model(path)

    found = ranges_of(loaded)
    assert found.keys() == ranges.keys()
    assert found == ranges_of(quantized)
    assert [tensor.name for tensor in loaded.inputs] == [tensor.name for tensor in model.inputs]
    assert heads(loaded, None) == heads(model, None)
    with path.open("rb") as file:
        assert read_keras(file).heads == heads(model, None)
    inputs = rows_for(model, 4)
    for ours, theirs in zip(outputs_of(loaded, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1.0)
        assert not np.array_equal(ours, theirs)


@pytest.mark.parametrize("kind", sorted(NETS))
def test_without_fake_quantization_gives_the_model_back(kind: str) -> None:
    model = randomized(NETS[kind]())

    plain = without_fake_quantization(with_fake_quantization(model, wide(model)))

    assert ranges_of(plain) == {}
    assert set(points_of(plain)) == set(points_of(model))
    inputs = rows_for(model, 4)
    for ours, theirs in zip(outputs_of(plain, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_group_has_the_range_that_holds_all_of_it() -> None:
    given = {"relu": Range(0.0, 2.0), "both": Range(0.5, 3.0), "kind": Range(-9.0, 9.0)}

    found = ranges_of(with_fake_quantization(residual_model(), given))

    assert found["relu"] == found["average"] == found["both"] == Range(0.0, 3.0)
    assert found["kind"] == Range(0.0, 255 / 256)


def test_an_unknown_point_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        with_fake_quantization(residual_model(), {"nowhere": Range(0.0, 1.0)})


class Doubling(Elementwise):
    def call(self, tensor: Any) -> Any:
        return tensor * self.factor

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(name="factor", initializer="ones")


@pytest.mark.parametrize("kind", sorted(NETS))
def test_layers_stand_at_points_without_a_change(kind: str) -> None:
    model = randomized(NETS[kind]())

    standing = {point.name: Doubling(name=f"at_{i}") for i, point in enumerate(points_of(model))}
    watched = with_layers_at(model, standing)

    inputs = rows_for(model, 4)
    for ours, theirs in zip(outputs_of(watched, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(watched.weights) == len(model.weights) + len(standing)


def test_activations_with_weights_of_their_own_stay_float_and_are_named() -> None:
    features = keras.Input((4,), name="features")
    x = layers.Dense(5, activation=layers.PReLU(), name="sloped")(features)
    logits = layers.Dense(3, activation=layers.PReLU(), name="logits")
    model = keras.Model(features, logits(layers.Dense(4, name="plain")(x)))

    ranged = with_fake_quantization(model, wide(model))

    assert [one.layer for one in left_float(model)] == ["sloped", "logits"]
    assert all("PReLU has weights of its own" in one.reason for one in left_float(model))
    assert ranges_of(ranged).keys() == {"features", "sloped", "plain", "logits"}
    assert ranged.output_names == ["logits"]
