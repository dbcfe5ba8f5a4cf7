"""A model without some channels computes what the original does with those channels at zero."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.applications import convnext

from app.errors import StepFailed
from app.recipes.facts import ModelFormat
from tests.builders import MODELS, conv_model, dense_model, outputs_of, randomized, rows_for
from tests.worker.engine.surgery.channels.nets.common import chain
from tests.worker.engine.surgery.channels.nets.table import NETS
from tests.worker.engine.surgery.channels.reference import (
    in_float64,
    random_keep,
    zeroed_outputs,
)
from worker.engine.loading.models import load_model
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.groups import ChannelGraph, Keep
from worker.engine.surgery.channels.removal import kept_axes, removed
from worker.engine.surgery.weights import named_weights

layers = keras.layers
Constant = keras.initializers.Constant
EXAMPLE = Path(__file__).parents[5] / "examples" / "lenet5.keras"


def example() -> Any:
    return keras.saving.load_model(EXAMPLE, compile=False)


def without(model: Any, **kept: list[int]) -> Any:
    """The model in which these units of each named group stay."""
    graph = channel_graph(model)
    return removed(model, graph, keep_only(graph, **kept), {}).model


def keep_only(graph: ChannelGraph, **kept: list[int]) -> Keep:
    return {
        name: np.isin(np.arange(graph.by_name[name].count), units) for name, units in kept.items()
    }


@pytest.mark.parametrize("name", NETS)
def test_removed_computes_what_the_original_does_with_those_channels_at_zero(name: str) -> None:
    build, counts = NETS[name]
    model = in_float64(build())
    inputs = rows_for(model, 2)
    graph = channel_graph(model)
    keep = random_keep(graph)

    smaller = removed(model, graph, keep, {}).model

    assert {group.name: group.count for group in graph.groups} == counts
    assert smaller.count_params() < model.count_params()
    found = outputs_of(smaller, inputs)
    wanted = zeroed_outputs(model, graph, keep, list(inputs.values()))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    for one, other in zip(found, outputs_of(model, inputs), strict=True):
        assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("build", [example, *MODELS.values()])
def test_removed_is_exact_for_the_example_and_for_the_models_of_other_tests(
    build: Callable[[], Any],
) -> None:
    model = in_float64(build())
    inputs = rows_for(model, 2)
    graph = channel_graph(model)
    keep = random_keep(graph)

    found = outputs_of(removed(model, graph, keep, {}).model, inputs)

    wanted = zeroed_outputs(model, graph, keep, list(inputs.values()))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["reshapes", "nested", "both_ways", "attention", "depthwise"])
def test_removed_is_identical_when_read_from_disk(name: str, tmp_path: Path) -> None:
    model = randomized(NETS[name][0]())
    graph = channel_graph(model)
    smaller = removed(model, graph, random_keep(graph), {}).model

    smaller.save(tmp_path / "smaller.keras")

    inputs = rows_for(model, 3)
    reloaded = keras.saving.load_model(tmp_path / "smaller.keras")
    np.testing.assert_array_equal(outputs_of(reloaded, inputs), outputs_of(smaller, inputs))


@pytest.mark.parametrize("name", ["nested_backbone", "both_ways", "attention", "group_norm"])
def test_removed_can_be_made_smaller_again(name: str) -> None:
    model = in_float64(NETS[name][0]())
    graph = channel_graph(model)
    once = removed(model, graph, random_keep(graph, share=0.8), {}).model

    graph = channel_graph(once)
    keep = random_keep(graph, seed=2)
    twice = removed(once, graph, keep, {}).model

    inputs = rows_for(model, 2)
    wanted = zeroed_outputs(once, graph, keep, list(inputs.values()))
    for one, other in zip(outputs_of(twice, inputs), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["depthwise", "residual", "both_ways"])
def test_removed_takes_channels_out_of_a_model_in_the_old_format(name: str, tmp_path: Path) -> None:
    model = randomized(NETS[name][0]())
    model.save(tmp_path / "model.h5")
    read = load_model(tmp_path / "model.h5", ModelFormat.H5)
    graph = channel_graph(read)
    keep = random_keep(graph)

    smaller = removed(read, graph, keep, {}).model

    same = removed(model, channel_graph(model), keep, {}).model
    inputs = rows_for(model, 3)
    np.testing.assert_array_equal(outputs_of(smaller, inputs), outputs_of(same, inputs))


def test_removed_slices_every_weight_along_the_units_that_stay() -> None:
    model = randomized(dense_model())
    before = {name: weight.numpy() for name, weight in named_weights(model).items()}

    after = named_weights(without(model, hidden=[1, 4]))

    np.testing.assert_array_equal(after["hidden/kernel"], before["hidden/kernel"][:, [1, 4]])
    np.testing.assert_array_equal(after["hidden/bias"], before["hidden/bias"][[1, 4]])
    np.testing.assert_array_equal(after["classes/kernel"], before["classes/kernel"][[1, 4]])


def test_removed_slices_the_statistics_of_a_batch_normalization() -> None:
    model = randomized(conv_model())
    before = named_weights(model)["norm/moving_variance"].numpy()

    after = named_weights(without(model, conv=[0, 3]))["norm/moving_variance"]

    np.testing.assert_array_equal(after, before[[0, 3]])


def test_removed_takes_a_unit_of_an_lstm_out_of_all_gates() -> None:
    model = randomized(chain((5, 3), layers.LSTM(4, name="lstm")))
    before = named_weights(model)["lstm/recurrent_kernel"].numpy()

    after = named_weights(without(model, lstm=[0, 2]))["lstm/recurrent_kernel"]

    columns = [gate * 4 + unit for gate in range(4) for unit in (0, 2)]
    np.testing.assert_array_equal(after, before[[0, 2]][:, columns])


def test_removed_leaves_the_given_model_alone() -> None:
    model = randomized(conv_model())
    before, config = model.get_weights(), model.get_config()

    without(model, conv=[1])

    assert model.get_config() == config
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_removed_slices_masks_like_the_weights() -> None:
    model = conv_model()
    graph = channel_graph(model)
    mask = np.random.default_rng(0).random((3, 3, 1, 4)) < 0.5
    masks = {"conv/kernel": mask, "logits/kernel": np.eye(4, 3, dtype=bool)}

    smaller = removed(model, graph, keep_only(graph, conv=[1, 2]), masks).masks

    np.testing.assert_array_equal(smaller["conv/kernel"], mask[..., [1, 2]])
    np.testing.assert_array_equal(smaller["logits/kernel"], np.eye(4, 3, dtype=bool)[[1, 2]])


def test_removed_keeps_names_policies_and_what_is_frozen() -> None:
    inputs = keras.Input((4,), name="numbers")
    hidden = layers.Dense(
        8, name="hidden", dtype="mixed_float16", kernel_regularizer="l2", trainable=False
    )
    model = keras.Model(inputs, layers.Dense(3, name="classes")(hidden(inputs)), name="whole")

    smaller = without(model, hidden=[0, 5])

    layer = smaller.get_layer("hidden")
    assert smaller.name == "whole"
    assert [tensor.name for tensor in smaller.inputs] == ["numbers"]
    assert smaller.output_names == ["classes"]
    assert (layer.units, layer.trainable, layer.dtype_policy.name) == (2, False, "mixed_float16")
    assert layer.kernel_regularizer is not None


def held() -> Any:
    """Layers whose initial values are arrays, as those of a pretrained embedding."""
    values = np.random.default_rng(0).normal(size=(20, 12))
    words = keras.Input((7,), dtype="int32", name="words")
    x = layers.Embedding(20, 12, embeddings_initializer=Constant(values), name="words_of")(words)
    x = layers.Bidirectional(layers.GRU(4, recurrent_initializer=Constant(np.eye(4, 12))))(x)
    x = layers.Dense(6, bias_initializer=Constant(list(range(6))), name="hidden")(x)
    x = layers.BatchNormalization(gamma_initializer=Constant(np.arange(6.0)), name="norm")(x)
    return keras.Model(words, layers.Dense(3, bias_initializer=Constant([1.0, 2.0, 3.0]))(x))


def test_removed_does_without_initial_values_that_no_longer_fit(tmp_path: Path) -> None:
    model = in_float64(held())
    graph = channel_graph(model)
    keep = random_keep(graph)

    smaller = removed(model, graph, keep, {}).model
    smaller.save(tmp_path / "smaller.keras")

    inputs = rows_for(model, 2)
    wanted = zeroed_outputs(model, graph, keep, list(inputs.values()))
    reloaded = keras.saving.load_model(tmp_path / "smaller.keras")
    np.testing.assert_allclose(outputs_of(smaller, inputs)[0], wanted[0], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(outputs_of(reloaded, inputs), outputs_of(smaller, inputs))


def test_removed_keeps_initial_values_where_they_fit() -> None:
    features = keras.Input((4,))
    free = layers.Dense(5, bias_initializer=Constant([1.0] * 5), name="free")
    kept = layers.Dense(5, bias_initializer=Constant([1.0] * 5), name="kept")
    joined = layers.Concatenate()([layers.Dense(3)(free(features)), kept(features)])
    model = keras.Model(features, [layers.Dense(2)(joined), kept.output])

    smaller = without(model, free=[0, 1])

    assert type(smaller.get_layer("free").bias_initializer).__name__ == "Zeros"
    assert type(smaller.get_layer("kept").bias_initializer).__name__ == "Constant"


def test_removed_is_exact_for_the_layer_scale_of_convnext() -> None:
    picture = keras.Input((6, 6, 3), name="picture")
    stem = layers.Conv2D(8, 3, name="stem")(picture)
    y = layers.Conv2D(8, 1, name="inside")(stem)
    y = convnext.LayerScale(1.0, 8, name="scale")(y)
    y = convnext.StochasticDepth(0.5, name="depth")(y)
    x = layers.Flatten()(layers.Add()([stem, y]))
    model = in_float64(keras.Model(picture, layers.Dense(3)(x)))
    graph = channel_graph(model)
    keep = random_keep(graph)

    smaller = removed(model, graph, keep, {}).model

    inputs = rows_for(model, 2)
    (wanted,) = zeroed_outputs(model, graph, keep, list(inputs.values()))
    assert graph.by_name["stem"].producers == ("stem", "inside")
    np.testing.assert_allclose(outputs_of(smaller, inputs)[0], wanted, rtol=0, atol=1e-9)


def test_removed_names_the_layer_of_which_nothing_would_be_left() -> None:
    with pytest.raises(StepFailed, match="all 8 channels of layer 'hidden' would be taken out"):
        without(dense_model(), hidden=[])


def test_kept_axes_says_what_is_left_of_each_weight() -> None:
    graph = channel_graph(dense_model())

    axes = kept_axes(graph, keep_only(graph, hidden=[0, 1, 7]))

    assert {(name, axis) for name, of_one in axes.items() for axis in of_one} == {
        ("hidden/kernel", 1),
        ("hidden/bias", 0),
        ("classes/kernel", 0),
    }
    assert axes["classes/kernel"][0].tolist() == [True, True, *[False] * 5, True]


def test_kept_axes_counts_what_two_groups_take_from_one_axis() -> None:
    graph = channel_graph(NETS["dense_connections"][0]())

    axes = kept_axes(graph, keep_only(graph, stem=[0], a=[0, 1]))

    assert int(axes["b/kernel"][2].sum()) == 1 + 2
