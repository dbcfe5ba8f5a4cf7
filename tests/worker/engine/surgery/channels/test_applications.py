"""Every network of `keras.applications` of at most 30 M parameters, half of its channels gone."""

import gc
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.worker.engine.surgery.channels.reference import random_keep, randomize, zero_and_run
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.removal import removed

# The smallest pictures that a network takes: its arithmetic is the same for larger ones.
SIDES = {"InceptionV3": 75, "Xception": 71}
GROUPS = {
    "ConvNeXtTiny": 22,
    "DenseNet121": 120,
    "DenseNet169": 168,
    "DenseNet201": 200,
    "EfficientNetB0": 40,
    "EfficientNetB1": 53,
    "EfficientNetB2": 53,
    "EfficientNetB3": 59,
    "EfficientNetB4": 71,
    "EfficientNetV2B0": 44,
    "EfficientNetV2B1": 52,
    "EfficientNetV2B2": 54,
    "EfficientNetV2B3": 62,
    "EfficientNetV2S": 75,
    "InceptionV3": 94,
    "MobileNet": 14,
    "MobileNetV2": 25,
    "MobileNetV3Large": 30,
    "MobileNetV3Small": 27,
    "NASNetMobile": 128,
    "ResNet50": 37,
    "ResNet50V2": 37,
    "Xception": 28,
}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Networks are built in float64, and forgotten afterwards."""
    floats, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(floats)
    keras.config.set_dtype_policy(policy)
    keras.backend.clear_session()
    gc.collect()


# Deeper relatives of networks that are left: minutes of work that no other way of joining needs.
RELATIVES = {
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2S",
    "MobileNetV3Large",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.applications if name in RELATIVES else ())
        for name in GROUPS
    ],
)
def test_removed_is_exact_for_half_the_channels_of(name: str, tmp_path: Path) -> None:
    side = SIDES.get(name, 32)
    model = randomize(
        getattr(keras.applications, name)(
            weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
        )
    )
    picture = np.random.default_rng(0).normal(size=(1, side, side, 3))
    graph = channel_graph(model)
    keep = random_keep(graph)
    found_groups = len(graph.groups)

    smaller = removed(model, graph, keep, {}).model

    assert found_groups == GROUPS[name]
    found, before = np.asarray(smaller(picture)), np.asarray(model(picture))
    smaller.save(tmp_path / "smaller.keras")
    (wanted,) = zero_and_run(model, graph, keep, [picture])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert np.abs(found - before).max() > 0.1
    np.testing.assert_array_equal(read(tmp_path / "smaller.keras")(picture), found)


def read(path: Path) -> keras.Model:
    return keras.saving.load_model(path, compile=False)
