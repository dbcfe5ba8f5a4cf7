"""Weights of another model: by name, in order, and the most important channels."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tests.builders import conv_model, dense_model, outputs_of, randomized, rows_for
from worker.engine.initializing.taking import take_weights
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import leaves, named_weights


def network(widths: tuple[int, ...], names: tuple[str, ...]) -> Any:
    """4 numbers -> Dense layers with relu between them."""
    layers = [
        keras.layers.Dense(units, activation="relu" if name != names[-1] else None, name=name)
        for units, name in zip(widths, names, strict=True)
    ]
    return randomized(keras.Sequential([keras.Input((4,), name="features"), *layers]))


def pictures(filters: int, *, has_norm: bool = True) -> Any:
    """8x8 pictures -> convolution, residual convolution, flatten, 3 classes."""
    picture = keras.Input((8, 8, 1), name="picture")
    stem = keras.layers.Conv2D(filters, 3, name="stem")(picture)
    x = keras.layers.BatchNormalization(name="norm")(stem) if has_norm else stem
    x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name="inner")(x)
    x = keras.layers.Add(name="sum")([stem, x])
    x = keras.layers.Flatten(name="flat")(keras.layers.MaxPooling2D(name="pool")(x))
    return keras.Model(picture, keras.layers.Dense(3, name="logits")(x))


def values_of(model: Any) -> dict[str, NDArray[Any]]:
    return {name: weight.numpy() for name, weight in named_weights(model).items()}


def test_take_weights_by_name_takes_all_of_an_equal_model() -> None:
    ours, theirs = conv_model(), randomized(conv_model())

    taken = take_weights(ours, theirs, leaves(ours))

    filled = clone_with_weights(ours, taken.values)
    assert set(taken.whole) == {"conv", "norm", "logits"}
    assert not taken.sliced
    rows = rows_for(ours, 3)
    np.testing.assert_array_equal(outputs_of(filled, rows)[0], outputs_of(theirs, rows)[0])


def test_take_weights_fills_the_chosen_layers_alone() -> None:
    ours, theirs = dense_model(), randomized(dense_model())
    (hidden,) = [leaf for leaf in leaves(ours) if leaf.name == "hidden"]

    assert set(take_weights(ours, theirs, [hidden]).values) == {"hidden/kernel", "hidden/bias"}


def test_take_weights_in_order_where_names_differ() -> None:
    ours = network((8, 6, 3), ("one", "two", "three"))
    theirs = network((8, 6, 3), ("first", "second", "third"))

    taken = take_weights(ours, theirs, leaves(ours))

    assert taken.whole == {"one": "first", "two": "second", "three": "third"}


def test_take_weights_slices_the_channels_with_the_largest_norm() -> None:
    ours, theirs = network((2, 3), ("hidden", "out")), network((4, 3), ("hidden", "out"))
    source = values_of(theirs)
    norms = np.abs(source["hidden/kernel"]).sum(axis=0)
    best = np.sort(np.argsort(-norms)[:2])

    taken = take_weights(ours, theirs, leaves(ours))

    assert taken.sliced == {"hidden": "hidden", "out": "out"}
    np.testing.assert_array_equal(taken.values["hidden/kernel"], source["hidden/kernel"][:, best])
    np.testing.assert_array_equal(taken.values["hidden/bias"], source["hidden/bias"][best])
    np.testing.assert_array_equal(taken.values["out/kernel"], source["out/kernel"][best])
    np.testing.assert_array_equal(taken.values["out/bias"], source["out/bias"])


def test_take_weights_slices_a_residual_network_consistently() -> None:
    ours, theirs = pictures(4), randomized(pictures(6))

    taken = take_weights(ours, theirs, leaves(ours))

    assert set(taken.sliced) == {"stem", "norm", "inner", "logits"}
    assert not taken.left
    # The dropped channels at zero, the wide model computes what the narrow one does.
    filled = clone_with_weights(ours, taken.values)
    source = values_of(theirs)
    norms = np.abs(source["stem/kernel"]).sum(axis=(0, 1, 2))
    norms += np.abs(source["inner/kernel"]).sum(axis=(0, 1, 2))
    dropped = np.argsort(-norms)[4:]
    muted = {"inner/kernel": source["inner/kernel"].copy()}
    muted["inner/kernel"][:, :, dropped] = 0
    muted["logits/kernel"] = source["logits/kernel"].copy().reshape(3, 3, 6, 3)
    muted["logits/kernel"][:, :, dropped] = 0
    muted["logits/kernel"] = muted["logits/kernel"].reshape(54, 3)
    rows = rows_for(ours, 3)
    np.testing.assert_allclose(
        outputs_of(filled, rows)[0],
        outputs_of(clone_with_weights(theirs, muted), rows)[0],
        atol=1e-4,
    )


def test_take_weights_names_a_layer_without_a_counterpart() -> None:
    ours, theirs = pictures(4), pictures(4, has_norm=False)

    left = take_weights(ours, theirs, leaves(ours)).left

    assert list(left) == ["norm"]
    assert "no layer of its kind" in left["norm"]


def test_take_weights_names_a_layer_that_cannot_be_cut_to_fit() -> None:
    # The outputs of a model stay: its head cannot lose a class.
    ours, theirs = network((4, 2), ("hidden", "out")), network((4, 3), ("hidden", "out"))

    taken = take_weights(ours, theirs, leaves(ours))

    assert taken.whole == {"hidden": "hidden"}
    assert "(4, 3)" in taken.left["out"]
    assert "(4, 2)" in taken.left["out"]


def test_take_weights_leaves_both_models_as_they_are() -> None:
    ours, theirs = pictures(4), randomized(pictures(6))
    before = [values_of(ours), values_of(theirs)]

    take_weights(ours, theirs, leaves(ours))

    for model, was in zip((ours, theirs), before, strict=True):
        for name, value in values_of(model).items():
            np.testing.assert_array_equal(value, was[name])
