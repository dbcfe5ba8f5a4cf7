"""The door against Keras itself: what Keras writes and reads again is let in, layer by layer."""

import importlib
import inspect
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.ops.operation import Operation

from app.errors import ModelNotLoadable, RejectedUpload
from app.recipes.check import ImpossibleRecipe, QuantizedModel, check
from app.recipes.constraints import Constraints
from app.recipes.facts import ModelFacts, ModelFormat
from app.recipes.recipe import Recipe
from app.recipes.steps import step_types
from app.recipes.steps.base import Given
from app.uploads.formats import UploadKind, recognize
from app.uploads.inspector.keras import names as keras_names
from app.uploads.inspector.keras.files import read_h5, read_keras
from app.uploads.inspector.keras.rules import check_config
from tests import keras_zoo
from tests.builders import randomized
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
    # No two alike. Not run: a hundred layers magnify rounding, until one model differs from itself.
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign_add(rng.uniform(-0.01, 0.01, weight.shape))
    loaded_twins(model, tmp_path)


def test_door_takes_layers_that_a_network_has_to_itself(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 4))
    x = LayerScale(0.1, 4)(inputs)
    x = StochasticDepth(0.1)(x)
    model = keras.Model(inputs, CustomScaleLayer(0.2)([x, inputs]))
    check_facts(inspected(model_saved(model, tmp_path / "model.keras")), model)
    check_twins(randomized(model), tmp_path)


def graph_of_operations() -> Any:
    """Operations between layers, some called like layers, some in a model inside; shapes of all."""
    inputs = keras.Input((6, 4))
    x = keras.layers.Dense(4)(inputs) * 2 + 1
    x = keras.layers.Add()([x, ops.add(x, inputs)])
    x = ops.reshape(ops.concatenate([x, ops.maximum(x, 0.5)], axis=1), (-1, 12, 4))
    inner = keras.Input((12, 4))
    body = keras.layers.Dense(4)(ops.softmax(keras.layers.Softmax()(inner), axis=1))
    x = keras.Model(inner, ops.relu(body) - keras.activations.relu(inner, max_value=6.0))(x)
    x = ops.stack([x[..., 1:], x[:, ::-1, :3]], axis=1)[:, 0, ..., None]
    return keras.Model(inputs, keras.layers.Dense(2)(ops.mean(x, axis=(1, 3))))


def test_operations_are_read_from_h5_as_from_keras(tmp_path: Path) -> None:
    check_twins(randomized(graph_of_operations()), tmp_path)


@pytest.mark.hostile
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_read_from_h5_as_from_keras(name: str, tmp_path: Path) -> None:
    model = keras_zoo.operation_model(name)
    if UNREADABLE & {type(each).__name__ for each in model.operations}:
        return
    try:
        check_twins(model, tmp_path)
    except NotImplementedError:
        pytest.skip("Keras cannot save it")


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


@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_every_technique_turns_quantized_models_down(
    mode: str, ending: str, tmp_path: Path
) -> None:
    """Keras itself cannot read float8 back from .h5; no job comes that far."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.quantize(mode)
    facts = inspected(model_saved(model, tmp_path / f"model.{ending}"))
    recipe = Recipe.model_validate({"steps": [{"technique": "magnitude_pruning", "sparsity": 0.5}]})
    with pytest.raises(QuantizedModel):
        check(recipe, ("keras",), Given(facts, None), NO_TARGETS)


class OwnLoss(keras.losses.Loss):
    """An author's own, as they save it."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize("ending", READERS)
def test_models_are_taken_and_loaded_whatever_loss_their_author_wrote(
    ending: str, tmp_path: Path
) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", loss=OwnLoss(), metrics=[keras.metrics.MeanSquaredError()])
    path = model_saved(model, tmp_path / f"model.{ending}")
    facts = inspected(path)
    assert [head.compiled_loss for head in facts.heads] == [None]
    assert "'OwnLoss'; that loss is not known here" in facts.notes[0]
    assert load_model(path, ModelFormat(ending)).count_params() == model.count_params()


def check_every_technique(facts: ModelFacts) -> None:
    for technique in step_types():
        step = {"technique": technique} | REQUIRED.get(technique, {})
        recipe = Recipe.model_validate({"steps": [step]})
        with suppress(ImpossibleRecipe):
            check(recipe, ("keras", "tflite"), Given(facts, None), NO_TARGETS)


def loaded_twins(model: Any, folder: Path) -> tuple[Any, Any]:
    """A model saved as .keras and as .h5, which are described alike and have the same weights."""
    paths = [model_saved(model, folder / f"model.{ending}") for ending in READERS]
    described, described_in_h5 = (inspected(path) for path in paths)
    assert told_of(described_in_h5) == told_of(described)
    twin, in_h5 = (load_model(path, ModelFormat(path.suffix[1:])) for path in paths)
    for weight, wanted in zip(in_h5.weights, twin.weights, strict=True):
        assert weight.path.split("/")[-2] == wanted.path.split("/")[-2]
        np.testing.assert_array_equal(weight, wanted)
    return twin, in_h5


def check_twins(model: Any, folder: Path) -> None:
    """What is loaded from both kinds of file computes the same."""
    twin, in_h5 = loaded_twins(model, folder)
    rows = drawn_rows(twin)
    try:
        wanted_outputs = twin(rows)
    except Exception:  # noqa: BLE001 - of an operation that these rows do not fit, it is anything
        assert graph_as_written(in_h5) == graph_as_written(twin)
        return
    if "ElasticTransform" not in {type(each).__name__ for each in twin.operations}:
        for given, wanted in zip(as_arrays(in_h5(rows)), as_arrays(wanted_outputs), strict=True):
            check_close(given, wanted)


def check_close(given: Any, wanted: Any) -> None:
    if wanted.dtype.kind in "fc":
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_array_equal(given, wanted)


def told_of(facts: ModelFacts) -> Any:
    """All but the format, and weights of nested layers, which a .h5 file does not tell."""
    layers = [(each.name, each.class_name, each.activation) for each in facts.layers]
    return (layers, facts.inputs, facts.outputs, facts.heads, facts.parameter_count)


def graph_as_written(model: Any) -> Any:
    """What `model` is made of; Keras numbers the operations that it forgets the name of."""
    numbered = {each.name for each in model.operations if "Patches" in type(each).__name__}
    written = model.to_json()
    for place, name in enumerate(sorted(numbered)):
        written = written.replace(f'"{name}"', f'"unnamed {place}"')
    return json.loads(written)


def drawn_rows(model: Any) -> Any:
    rng = np.random.default_rng(0)
    rows = [
        rng.uniform(0, 3, [3 if axis is None else axis for axis in each.shape]).astype(each.dtype)
        for each in model.inputs
    ]
    return keras.tree.pack_sequence_as(model.input, rows)


def as_arrays(outputs: Any) -> list[Any]:
    return [np.asarray(each) for each in keras.tree.flatten(outputs)]


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
    if known & keras_names.MODELS:
        assert known & keras_names.MODELS <= there
    else:
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
