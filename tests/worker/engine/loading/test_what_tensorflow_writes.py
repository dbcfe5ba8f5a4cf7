"""The door against TensorFlow itself: SavedModels of all that Keras has are let in."""

import gc
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from app.recipes.facts import ModelFacts
from app.uploads.formats import UploadKind, recognize
from app.uploads.inspector.saved_model.file import read_saved_model
from tests import keras_zoo

# Of Keras: it copies arrays the way that numpy 1 wanted.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

LAYERS = sorted(keras_zoo.layer_classes().keys() - keras_zoo.NOT_FOR_FILES)
OPERATIONS = keras_zoo.operation_names()
# Those of at most 30 million parameters, by how many of them no output depends on.
NETWORKS = {
    **dict.fromkeys(("ConvNeXtTiny", "DenseNet121", "DenseNet169", "DenseNet201"), 0),
    # The count of values in the Normalization at their input, with its mean and variance.
    **dict.fromkeys((f"EfficientNetB{k}" for k in range(6)), 7),
    **dict.fromkeys((f"EfficientNetV2B{k}" for k in range(4)), 0),
    **dict.fromkeys(("EfficientNetV2S", "InceptionV3", "MobileNet", "MobileNetV2"), 0),
    **dict.fromkeys(("MobileNetV3Large", "MobileNetV3Small", "NASNetMobile"), 0),
    **dict.fromkeys(("ResNet50", "ResNet50V2", "Xception"), 0),
}
QUICK = frozenset({"Dense", "GRU", "MultiHeadAttention", "StringLookup"})
# What they count, and a vector that is needed to train on.
UNUSED = {"Normalization", "SpectralNormalization"}
ATTENDING = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
WAYS = ("export", "save")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What a large network took is given back."""
    yield
    keras.backend.clear_session()
    gc.collect()


def written(models: Iterable[Any], way: str, folder: Path) -> tuple[Any, Path]:
    """The first model that TensorFlow can write, and the zip of it; skips where there is none."""
    reasons = []
    for model in models:
        try:
            if way == "export":
                model.export(str(folder), verbose=False)
            else:
                tf.saved_model.save(model, str(folder))
        # Whatever tracing raises: such a model never was a SavedModel.
        except Exception as error:  # noqa: BLE001  # Keras and TensorFlow raise what they like
            reasons.append(type(error).__name__)
            continue
        return model, zipped(folder)
    pytest.skip(f"TensorFlow cannot write it: {', '.join(reasons)}")


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for each in sorted(folder.rglob("*")):
            archive.write(each, f"model/{each.relative_to(folder).as_posix()}")
    return path


def models_around(name: str) -> Iterator[Any]:
    """A layer as the zoo has it, and on inputs that it can compute with."""
    model = keras_zoo.layer_model(name)
    yield model
    for shape in ((16, 16, 3), (6, 4)):
        layer = type(model.layers[-1]).from_config(model.layers[-1].get_config())
        given = keras.Input(shape)
        # Most layers are not for inputs of both shapes.
        with suppress(ValueError, TypeError):
            made = layer(given, given) if isinstance(layer, ATTENDING) else layer(given)
            yield keras.Model(given, made)


def inspected(path: Path) -> ModelFacts:
    """Raises: RejectedUpload."""
    assert recognize(path, UploadKind.MODEL, path.name) == "saved_model"
    with path.open("rb") as file:
        return read_saved_model(file)


def check_ports(facts: ModelFacts, model: Any) -> None:
    assert sorted(str(spec.shape) for spec in facts.inputs) == sorted(
        str(tuple(each.shape[1:])) for each in model.inputs
    )
    assert sorted(spec.dtype for spec in facts.inputs) == sorted(
        keras.backend.standardize_dtype(each.dtype) for each in model.inputs
    )
    assert len(facts.heads) == len(model.outputs)


def some_at_once(names: list[str]) -> list[Any]:
    return [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.hostile) for name in names
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", some_at_once(LAYERS))
def test_door_takes_every_layer_in_a_saved_model(name: str, way: str, tmp_path: Path) -> None:
    model, path = written(models_around(name), way, tmp_path / "model")
    facts = inspected(path)
    check_ports(facts, model)
    counted = facts.parameter_count
    assert counted <= model.count_params() if name in UNUSED else counted == model.count_params()


@pytest.mark.hostile
@pytest.mark.parametrize("name", OPERATIONS)
def test_door_takes_every_operation_in_a_saved_model(name: str, tmp_path: Path) -> None:
    model, path = written([keras_zoo.operation_model(name)], "export", tmp_path / "model")
    check_ports(inspected(path), model)


@pytest.mark.hostile
@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_door_takes_networks_of_keras_applications(name: str, way: str, tmp_path: Path) -> None:
    given = getattr(keras.applications, name)(weights=None)
    model, path = written([given], way, tmp_path / "model")
    facts = inspected(path)
    check_ports(facts, model)
    assert facts.parameter_count == model.count_params() - NETWORKS[name]
    assert [(head.activation, head.units) for head in facts.heads] == [("softmax", 1000)]
    with_weights = {layer.name for layer in model.layers if layer.weights}
    assert len(with_weights) - 1 <= facts.layer_count <= len(facts.layers)
