"""The door against Keras itself: what Keras writes and reads again is let in, layer by layer."""

import importlib
import inspect
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import pytest
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.ops.operation import Operation

from app.errors import ModelNotLoadable, RejectedUpload
from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import ModelFacts, ModelFormat
from app.recipes.recipe import Recipe
from app.recipes.steps import step_types
from app.recipes.steps.base import Given
from app.uploads.formats import UploadKind, recognize
from app.uploads.inspector import keras_names
from app.uploads.inspector.keras_files import read_h5, read_keras
from app.uploads.inspector.keras_rules import check_config
from tests import keras_zoo
from tests.keras_archives import archive
from worker.engine.loading.models import load_model

pytestmark = [
    pytest.mark.slow,
    # Of Keras: it advises against .h5, and copies arrays the way that numpy 1 wanted.
    pytest.mark.filterwarnings("ignore"),
]
LAYERS = sorted(keras_zoo.layer_classes().keys() - keras_zoo.NOT_FOR_FILES)
OPERATIONS = keras_zoo.operation_names()
NETWORKS = sorted(
    name for name, each in vars(keras.applications).items() if inspect.isfunction(each)
)
# A file of more than 120 MB takes long to write, and says no more than its configuration.
MANY = 30_000_000
NO_TARGETS = Constraints.model_validate({})
REQUIRED: dict[str, Any] = {"magnitude_pruning": {"sparsity": 0.5}}
READERS = {"keras": read_keras, "h5": read_h5}
BASES = frozenset({"Constraint", "Initializer", "LearningRateSchedule", "Loss", "Metric"}) | {
    *("Operation", "Optimizer", "QuantizationConfig", "Quantizer", "Regularizer"),
    "SegmentReduction",
}
CALLING = frozenset({"JVP", "AssociativeScan", "Cond", "ForiLoop", "Map", "Scan"}) | {
    *("Switch", "VectorizedMap", "WhileLoop"),
}

# Keras 3.15 writes these and fails when it reads them.
UNREADABLE = frozenset({"AdaptiveAveragePool", "AdaptiveMaxPool"})


def inspected(path: Path) -> ModelFacts:
    """Raises: RejectedUpload."""
    recognize(path, UploadKind.MODEL, path.name)
    with path.open("rb") as file:
        return READERS[path.suffix[1:]](file)


def some_at_once(names: Sequence[str], step: int) -> list[Any]:
    """Every so many by default, the others with what is `hostile`: they take half a minute."""
    return [
        pytest.param(name, marks=() if index % step == 0 else pytest.mark.hostile)
        for index, name in enumerate(names)
    ]


def saved(model: Any, path: Path) -> Path | None:
    """Where it was saved; None for what Keras itself cannot save."""
    try:
        model.save(path)
    except (TypeError, ValueError, NotImplementedError):
        return None
    return path


def model_saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def check_facts(facts: ModelFacts, model: Any) -> None:
    assert facts.parameter_count == model.count_params()
    assert [spec.shape for spec in facts.inputs] == [tuple(each.shape[1:]) for each in model.inputs]
    assert len(facts.outputs) == len(model.outputs)
    is_flat = not any(isinstance(each, keras.Model) for each in model.layers)
    if facts.class_name == "Functional" and is_flat:
        assert {layer.name for layer in facts.layers} == {each.name for each in model.operations}


@pytest.mark.parametrize("name", some_at_once(LAYERS, 5))
def test_door_takes_every_layer(name: str, tmp_path: Path) -> None:
    model = keras_zoo.layer_model(name)
    check_facts(inspected(model_saved(model, tmp_path / "model.keras")), model)


@pytest.mark.parametrize("name", some_at_once(OPERATIONS, 10))
def test_door_takes_every_operation(name: str) -> None:
    model = keras_zoo.operation_model(name)
    if UNREADABLE & {type(each).__name__ for each in model.operations}:
        return
    config = json.loads(model.to_json())
    check_facts(read_keras(archive(config, {})), model)


@pytest.mark.hostile
@pytest.mark.parametrize("name", NETWORKS)
def test_door_takes_every_network_of_keras_applications(name: str, tmp_path: Path) -> None:
    model = getattr(keras.applications, name)(weights=None)
    if model.count_params() > MANY:
        # As written; only the file is not.
        config = json.loads(model.to_json())
        check_config(config, None, stored_values=model.count_params())
        return
    check_facts(inspected(model_saved(model, tmp_path / "model.keras")), model)
    check_same_verdict(model_saved(model, tmp_path / "model.h5"))


def test_door_takes_layers_that_a_network_has_to_itself(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 4))
    x = LayerScale(0.1, 4)(inputs)
    x = StochasticDepth(0.1)(x)
    model = keras.Model(inputs, CustomScaleLayer(0.2)([x, inputs]))
    path = model_saved(model, tmp_path / "model.keras")
    check_facts(inspected(path), model)
    load_model(path, ModelFormat.KERAS)


@pytest.mark.parametrize("ending", READERS)
def test_door_takes_a_network_of_keras_applications(ending: str, tmp_path: Path) -> None:
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    check_facts(inspected(model_saved(model, tmp_path / f"model.{ending}")), model)


@pytest.mark.hostile
@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("name", [*LAYERS, *(f"ops.{name}" for name in OPERATIONS)])
def test_door_takes_what_the_engine_loads(name: str, ending: str, tmp_path: Path) -> None:
    is_operation = name.startswith("ops.")
    build = keras_zoo.operation_model if is_operation else keras_zoo.layer_model
    path = saved(build(name.removeprefix("ops.")), tmp_path / f"model.{ending}")
    if path is None:
        pytest.skip("Keras cannot save it")
    check_same_verdict(path)


@pytest.mark.parametrize(
    "name", some_at_once([*LAYERS, *(f"ops.{each}" for each in OPERATIONS)], 40)
)
def test_recipes_are_checked_against_whatever_the_door_takes(name: str, tmp_path: Path) -> None:
    """Whether a technique can be carried out is answered; nothing fails."""
    is_operation = name.startswith("ops.")
    build = keras_zoo.operation_model if is_operation else keras_zoo.layer_model
    if path := saved(build(name.removeprefix("ops.")), tmp_path / "model.keras"):
        with suppress(RejectedUpload):
            check_every_technique(inspected(path))


def check_every_technique(facts: ModelFacts) -> None:
    for technique in step_types():
        step = {"technique": technique} | REQUIRED.get(technique, {})
        recipe = Recipe.model_validate({"steps": [step]})
        with suppress(ImpossibleRecipe):
            check(recipe, ("keras", "tflite"), Given(facts, None), NO_TARGETS)


def check_same_verdict(path: Path) -> None:
    """What the engine cannot load is refused, and nothing else is."""
    try:
        load_model(path, ModelFormat(path.suffix[1:]))
    except ModelNotLoadable:
        with pytest.raises(RejectedUpload):
            inspected(path)
    else:
        inspected(path)


@pytest.mark.parametrize("module", keras_names.CLASSES)
def test_lists_hold_every_class_of_keras(module: str) -> None:
    """A new version of Keras fails here: put the name on its list, or on one of those above."""
    known = keras_names.CLASSES[module]
    there = {
        each.__name__
        for each in vars(importlib.import_module(module)).values()
        if inspect.isclass(each) and (".src." not in module or _is_of(each, module))
    }
    if module == "keras.layers":
        there = there - {"GroupedQueryAttention"} | {"GroupQueryAttention"}
    if module not in ("keras", *keras_names.MODEL_MODULES):
        assert there - BASES - CALLING - UNREADABLE - keras_zoo.NOT_FOR_FILES == (
            known - keras_names.EARLIER_INITIALIZERS
        )


@pytest.mark.parametrize("module", ["keras.activations", "keras.losses", "keras.metrics"])
def test_lists_hold_every_function_of_keras(module: str) -> None:
    found = vars(importlib.import_module(module))
    there = {name for name, each in found.items() if inspect.isfunction(each)}
    assert there - {"get", "serialize", "deserialize"} == keras_names.FUNCTIONS[module]


def _is_of(found: type, module: str) -> bool:
    return issubclass(found, Operation) and found.__module__ == module
