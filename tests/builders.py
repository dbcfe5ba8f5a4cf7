"""Tiny Keras models and data for the tests of the engine; the same every time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.recipes.facts import DatasetOptions, Head
from app.recipes.recipe import Recipe
from app.recipes.steps import Step
from worker.engine.context import Masks, StepContext
from worker.engine.loading.datasets import Dataset, load_dataset, read_tasks
from worker.engine.loading.models import OtherModels, heads, input_specs
from worker.engine.order import DatasetFile
from worker.engine.surgery.weights import assign_weights, named_weights

Array = NDArray[Any]


def dense_model(*, activation: str = "softmax", units: int = 3, loss: str | None = None) -> Any:
    """4 numbers -> `hidden` (8, relu) -> `classes`."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((4,), name="features"),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dense(units, activation=activation, name="classes"),
        ],
        name="dense_model",
    )
    if loss:
        model.compile(loss=loss)
    return model


def conv_model() -> Any:
    """6x6x1 pictures -> `conv` (no bias) -> `norm` -> relu -> `logits` of 3 classes."""
    keras.utils.set_random_seed(2)
    picture = keras.Input((6, 6, 1), name="picture")
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(picture)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(picture, keras.layers.Dense(3, name="logits")(x), name="conv_model")


def branched_model() -> Any:
    """`left` (4) and `right` (4) share `shared`; `kind` has 3 classes, `amount` is a number."""
    keras.utils.set_random_seed(3)
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    shared = keras.layers.Dense(6, activation="relu", name="shared")
    both = keras.layers.Concatenate(name="both")([shared(left), shared(right)])
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(both)
    amount = keras.layers.Dense(1, name="amount")(both)
    return keras.Model([left, right], [kind, amount], name="branched_model")


def nested_model() -> Any:
    """A `backbone` model with a `Dense` called `inner`, called on 4 numbers, then `classes`."""
    keras.utils.set_random_seed(4)
    inside = keras.Input((4,), name="inside")
    inner = keras.layers.Dense(6, activation="relu", name="inner")(inside)
    backbone = keras.Model(inside, inner, name="backbone")
    features = keras.Input((4,), name="features")
    classes = keras.layers.Dense(3, activation="softmax", name="classes")(backbone(features))
    return keras.Model(features, classes, name="nested_model")


def recurrent_model() -> Any:
    """Sequences of 5 x 3 -> `halves` (bidirectional LSTM, 4) -> `classes`, a sigmoid."""
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [
            keras.Input((5, 3), name="sequence"),
            keras.layers.Bidirectional(keras.layers.LSTM(4, name="lstm"), name="halves"),
            keras.layers.Dense(1, activation="sigmoid", name="classes"),
        ],
        name="recurrent_model",
    )


def embedding_model() -> Any:
    """5 whole numbers below 20 -> `words` -> `classes`."""
    keras.utils.set_random_seed(6)
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32", name="ids"),
            keras.layers.Embedding(20, 4, name="words"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(3, activation="softmax", name="classes"),
        ],
        name="embedding_model",
    )


def normalization_model() -> Any:
    """4 numbers -> `scale`, a Normalization adapted to numbers far from 0 -> `classes`."""
    keras.utils.set_random_seed(7)
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(np.random.default_rng(7).normal(0.5, 3.0, (64, 4)).astype("float32"))
    return keras.Sequential(
        [
            keras.Input((4,), name="features"),
            scale,
            keras.layers.Dense(3, activation="softmax", name="classes"),
        ],
        name="normalization_model",
    )


MODELS: dict[str, Callable[[], Any]] = {
    "dense": dense_model,
    "conv": conv_model,
    "branched": branched_model,
    "nested": nested_model,
    "recurrent": recurrent_model,
    "embedding": embedding_model,
    "normalization": normalization_model,
}


def randomized(model: Any, *, seed: int = 11) -> Any:
    """The model with no weight at its initial 0 or 1, so that no check of it is vacuous."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, weight in named_weights(model).items():
        low, high = (0.5, 2.0) if weight.name.endswith("variance") else (-1.0, 1.0)
        values[name] = rng.uniform(low, high, weight.shape)
    assign_weights(model, values)
    return model


def rows_for(model: Any, rows: int, *, seed: int = 0) -> dict[str, Array]:
    """Inputs by name that fit a model: standard normal, or whole numbers below 20."""
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.integers(0, 20, (rows, *_known(spec.shape))).astype(spec.dtype)
        if spec.dtype.startswith("int")
        else rng.standard_normal((rows, *_known(spec.shape))).astype("float32")
        for spec in input_specs(model)
    }


def learnable_labels(inputs: dict[str, Array], head: Head) -> Array:
    """Labels that follow from the rows: sorted into classes by their mean, or that mean."""
    first = next(iter(inputs.values()))
    means = first.reshape(len(first), -1).mean(axis=1)
    if head.units == 1 and head.activation == "linear":
        return means.astype("float32")
    classes = 2 if head.units == 1 else head.units or 2
    ranks = means.argsort().argsort()
    return (ranks * classes // len(ranks)).astype("int64")


def write_npz(path: Path, arrays: dict[str, Array], **options: float) -> DatasetFile:
    """An uncompressed `.npz` of these arrays, as a job is given it."""
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy types the names as `allow_pickle`
    return DatasetFile(
        path=path, format="npz", sha256="0" * 64, options=DatasetOptions.model_validate(options)
    )


def data_for(model: Any, folder: Path, *, train_rows: int = 96, test_rows: int = 32) -> Dataset:
    """A small learnable data set of this model, written and read back."""
    ends = heads(model, model.get_compile_config() if model.compiled else None)
    arrays: dict[str, Array] = {}
    for split, rows, seed in (("train", train_rows, 0), ("test", test_rows, 1)):
        inputs = rows_for(model, rows, seed=seed)
        arrays |= {f"x_{split}.{name}": values for name, values in inputs.items()}
        arrays |= {f"y_{split}.{end.output}": learnable_labels(inputs, end) for end in ends}
    file = write_npz(folder / "data.npz", arrays)
    return load_dataset(file, input_specs(model), [end.output for end in ends])


def context_for(
    model: Any, folder: Path, *, seed: int = 7, masks: Masks | None = None
) -> StepContext:
    """What a step of a job on this model would be given."""
    data = data_for(model, folder)
    ends = heads(model, model.get_compile_config() if model.compiled else None)
    return StepContext(
        seed=seed,
        data=data,
        tasks=read_tasks(ends, data),
        masks=masks or {},
        report_progress=ignore_progress,
        check_cancelled=never_cancelled,
        baseline=model,
        load_model=OtherModels({}),
        scratch=folder,
    )


def with_masks(context: StepContext, masks: Masks) -> StepContext:
    """The context of the next step of the same job."""
    return replace(context, masks=masks)


def step(technique: str, **parameters: Any) -> Any:
    """A step as a recipe would hold it, checked."""
    read = Recipe.model_validate({"steps": [{"technique": technique, **parameters}]}).steps[0]
    assert isinstance(read, Step)
    return read


def outputs_of(model: Any, inputs: dict[str, Array]) -> list[Array]:
    """What a model gives for inputs in its own order, as arrays in the order of its outputs."""
    arrays = list(inputs.values())
    given = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    return [np.asarray(output) for output in keras.tree.flatten(given)]


def ignore_progress(fraction: float, message: str, **metrics: float) -> None:
    """Hears of progress and does nothing with it."""


def never_cancelled() -> None:
    """A job that nobody cancels."""


def _known(shape: tuple[int | None, ...] | None) -> tuple[int, ...]:
    return tuple(3 if axis is None else axis for axis in shape or ())
