"""What can be taken out of a model, what cannot and why, and how long it takes to say so."""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import conv_model, dense_model
from tests.worker.engine.surgery.channels.nets.common import PICTURE, SEQUENCE, chain
from tests.worker.engine.surgery.channels.nets.connections import residual
from tests.worker.engine.surgery.channels.nets.table import NETS
from worker.engine.surgery.channels.graph import channel_graph

layers, ops = keras.layers, keras.ops


def added_to_the_input() -> Any:
    features = keras.Input((8,))
    x = layers.Dense(8, name="a")(features)
    return keras.Model(features, layers.Dense(3)(layers.Add(name="add")([features, x])))


def split_into_heads() -> Any:
    return chain(
        (5,), layers.Dense(8, name="a"), layers.Reshape((2, 4), name="split"), layers.Flatten()
    )


def softmax_between() -> Any:
    return chain((5,), layers.Dense(8, activation="softmax", name="a"))


def softmax_layer() -> Any:
    return chain((5,), layers.Dense(8, name="a"), layers.Softmax(name="gate"))


def softmax_activation() -> Any:
    return chain((5,), layers.Dense(8, name="a"), layers.Activation("softmax", name="gate"))


def channels_first() -> Any:
    first = {"data_format": "channels_first"}
    return chain(
        (3, 6, 6),
        layers.Conv2D(8, 3, name="a", **first),
        layers.ReLU(),
        layers.Flatten(**first),
    )


def unknown_layer() -> Any:
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="a")(sequence)
    x = layers.Attention(name="attention")([x, x])
    return keras.Model(sequence, layers.Dense(3)(layers.Flatten()(x)))


def unknown_operation() -> Any:
    features = keras.Input((5,))
    x = layers.Dense(8, name="a")(features)
    return keras.Model(features, layers.Dense(3)(ops.cumsum(x, axis=-1)))


def constant_for_each_channel() -> Any:
    features = keras.Input((5,))
    x = layers.Dense(4, name="a")(features)
    return keras.Model(features, layers.Dense(3)(x * np.array([1.0, 2.0, 3.0, 4.0])))


def clipped_channels() -> Any:
    features = keras.Input((5,))
    x = layers.Dense(4, name="a")(features)
    return keras.Model(features, layers.Dense(3)(ops.clip(x, np.zeros(4), np.arange(4.0))))


def reduced_channels() -> Any:
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="a")(sequence)
    return keras.Model(sequence, layers.Dense(3)(ops.mean(x, axis=-1)))


def masked_channels() -> Any:
    return chain(
        SEQUENCE, layers.Dense(8, name="a"), layers.Masking(name="mask"), layers.LSTM(4, name="l")
    )


def scaled_channels() -> Any:
    return chain((5,), layers.Dense(4, name="a"), layers.Rescaling([1.0, 2.0, 3.0, 4.0], name="r"))


def pooled_along_channels() -> Any:
    return chain(
        SEQUENCE,
        layers.Dense(8, name="a"),
        layers.Permute((2, 1)),
        layers.MaxPooling1D(name="pool"),
        layers.Flatten(),
    )


def given_states() -> Any:
    sequence, state = keras.Input(SEQUENCE), keras.Input((8,))
    x = layers.SimpleRNN(8, name="a")(sequence, initial_state=state)
    return keras.Model([sequence, state], layers.Dense(3)(x))


def returned_scores() -> Any:
    sequence = keras.Input(SEQUENCE)
    attention = layers.MultiHeadAttention(2, 3, name="a")
    x, scores = attention(sequence, sequence, return_attention_scores=True)
    x = layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(scores)])
    return keras.Model(sequence, layers.Dense(3)(x))


def repeated_gate() -> Any:
    picture = keras.Input(PICTURE)
    gate = layers.Conv2D(1, 1, name="a")(picture)
    x = layers.Conv2D(8, 1, name="c")(picture)
    x = layers.Multiply(name="times")([x, gate])
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(x)))


def shared_with_the_input() -> Any:
    """The second time, the same Dense reads an input: what it reads at first has to stay."""
    features = keras.Input((8,))
    shared = layers.Dense(6, name="shared")
    x = shared(layers.Dense(8, name="a")(features))
    return keras.Model(features, layers.Dense(3)(layers.Add()([x, shared(features)])))


def shared_model_with_the_input() -> Any:
    inside = keras.Input((8,))
    inner = keras.Model(inside, layers.ReLU()(inside), name="inner")
    features = keras.Input((8,))
    x = inner(layers.Dense(8, name="a")(features))
    return keras.Model(features, layers.Dense(3)(layers.Concatenate()([x, inner(features)])))


def listed_inputs_by_name() -> Any:
    first, second = keras.Input((8,), name="first"), keras.Input((8,), name="another")
    inner = keras.Model([first, second], layers.Add()([first, second]), name="inner")
    features = keras.Input((5,))
    a, b = layers.Dense(8, name="a")(features), layers.Dense(8, name="b")(features)
    return keras.Model(features, layers.Dense(3)(inner({"first": a, "another": b})))


def groups_beside_the_input() -> Any:
    """The second group of the normalization is half `a` and half the input."""
    picture = keras.Input((6, 6, 4))
    x = layers.Conv2D(8, 3, padding="same", name="a")(picture)
    x = layers.GroupNormalization(2, name="norm")(layers.Concatenate()([x, picture]))
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(x)))


def quantized() -> Any:
    model = chain((5,), layers.Dense(8, name="a"))
    model.get_layer("a").quantize("int8")
    return model


FROZEN: dict[str, tuple[Callable[[], Any], str]] = {
    "input": (added_to_the_input, "'add' merges it with channels that have to stay"),
    "heads": (split_into_heads, "its channels reach 'split': it lays them along several axes"),
    "softmax": (softmax_between, "its activation, softmax, mixes its channels"),
    "softmax layer": (softmax_layer, "its channels reach 'gate': softmax mixes the channels"),
    "softmax name": (softmax_activation, "its channels reach 'gate': softmax mixes the channels"),
    "channels first": (channels_first, "it keeps channels first"),
    "layer": (unknown_layer, "its channels reach 'attention': there is no rule for Attention"),
    "operation": (unknown_operation, "there is no rule for Cumsum"),
    "constant": (constant_for_each_channel, "it has a constant for each of them"),
    "clipped": (clipped_channels, "it clips to arrays"),
    "reduced": (reduced_channels, "it reduces over them"),
    "masked": (masked_channels, "its channels reach 'mask': it masks by all of them"),
    "scaled": (scaled_channels, "it scales each channel by a number of its configuration"),
    "pooled": (pooled_along_channels, "'pool': it works along an axis they lie on"),
    "state": (given_states, "'a' starts from a state that is given"),
    "gate": (repeated_gate, "its channels reach 'times': it repeats its one channel"),
    "shared": (shared_with_the_input, "'shared' is shared: it reads other channels"),
    "model": (shared_model_with_the_input, "is shared: its size is given"),
    "by name": (listed_inputs_by_name, "takes its inputs in order, but is called by name"),
    "quantized": (quantized, "its weights are quantized"),
}


@pytest.mark.parametrize("case", FROZEN)
def test_channel_graph_names_what_cannot_shrink_and_why(case: str) -> None:
    build, reason = FROZEN[case]

    graph = channel_graph(build())

    frozen = {layer.layer: layer.reason for layer in graph.frozen}
    assert "a" not in graph.by_name
    assert reason in frozen["a"]


def test_channel_graph_freezes_heads_whose_scores_are_returned() -> None:
    graph = channel_graph(returned_scores())

    assert [group.name for group in graph.groups] == ["a"]
    assert "one for each head, are returned" in {f.layer: f.reason for f in graph.frozen}["a:heads"]


def test_channel_graph_freezes_what_makes_an_output() -> None:
    graph = channel_graph(NETS["several_ends"][0]())

    assert {layer.layer: layer.reason for layer in graph.frozen} == {
        "first": "it makes an output of the model",
        "second": "it makes an output of the model",
    }


def test_channel_graph_prefers_to_say_that_a_softmax_is_an_output() -> None:
    graph = channel_graph(chain((5,), layers.Dense(8, name="a"), layers.Softmax(name="end")))
    named = keras.Input((5,))
    end = layers.Activation("softmax")(layers.Dense(4, name="a")(named))

    assert channel_graph(keras.Model(named, end)).frozen[0].reason == (
        "it makes an output of the model"
    )
    assert graph.frozen[0].reason == "its channels reach 'end': softmax mixes the channels"


def test_channel_graph_names_a_layer_of_which_a_part_stays() -> None:
    features = keras.Input((3,))
    joined = layers.Concatenate()([features, layers.Dense(4, name="d")(features)])
    x = layers.Add(name="add")([layers.Dense(7, name="a")(features), joined])

    graph = channel_graph(keras.Model(features, layers.Dense(3, name="classes")(x)))

    assert graph.by_name["d"].producers == ("d", "a")
    assert {layer.layer: layer.reason for layer in graph.frozen} == {
        "a": "3 of its 7 channels stay: 'add' merges it with channels that have to stay",
        "classes": "it makes an output of the model",
    }


def test_channel_graph_refuses_a_model_that_was_never_built() -> None:
    with pytest.raises(StepFailed, match="it was never built"):
        channel_graph(keras.Sequential([layers.Dense(8), layers.Dense(3)]))


def test_channel_graph_names_layers_whose_statistics_run_over_channels() -> None:
    assert channel_graph(NETS["renormalized"][0]()).renormalized == ("layer", "rms", "group")
    assert channel_graph(NETS["group_norm"][0]()).renormalized == ()
    assert channel_graph(NETS["norm_of_steps"][0]()).renormalized == ()


def test_channel_graph_leaves_out_statistics_over_channels_that_stay() -> None:
    model = chain((5,), layers.LayerNormalization(), layers.Dense(8, name="a"))

    assert channel_graph(model).renormalized == ()


def test_channel_graph_lists_every_axis_that_goes_with_a_group() -> None:
    group = channel_graph(conv_model()).by_name["conv"]

    assert {(part.weight, part.axis, part.role) for part in group.slices} == {
        ("conv/kernel", 3, "output"),
        ("norm/gamma", 0, "output"),
        ("norm/beta", 0, "output"),
        ("norm/moving_mean", 0, "output"),
        ("norm/moving_variance", 0, "output"),
        ("logits/kernel", 0, "input"),
    }


def test_channel_graph_spreads_units_over_what_was_flattened() -> None:
    group = channel_graph(NETS["lenet"][0]()).by_name["c2"]

    units = {part.weight: part.units for part in group.slices}["d1/kernel"]
    assert units.tolist() == list(range(8)) * 4


def test_channel_graph_names_all_producers_of_a_residual_stream() -> None:
    assert channel_graph(residual()).by_name["stem"].producers == ("stem", "first_b", "second_b")


def test_channel_graph_gives_groups_of_one_kind_the_same_structure() -> None:
    groups = channel_graph(residual()).by_name

    assert groups["first_a"].structure == groups["second_a"].structure
    assert groups["first_a"].structure != groups["stem"].structure


def test_channel_graph_finds_the_same_in_a_model_in_another_one() -> None:
    inner = dense_model()
    features = keras.Input((4,))

    graph = channel_graph(keras.Model(features, layers.Dense(2)(inner(features))))

    assert [group.name for group in graph.groups] == ["dense_model/hidden"]
    assert "dense_model/classes" in {layer.layer for layer in graph.frozen}


def test_channel_graph_keeps_a_whole_group_of_which_a_part_has_to_stay() -> None:
    graph = channel_graph(groups_beside_the_input())

    units = {part.weight: part.units for part in graph.by_name["a"].slices}["a/kernel"]
    assert units.tolist() == [0] * 6 + [-1] * 2


def test_channel_graph_takes_time_linear_in_the_layers() -> None:
    def seconds(blocks: int) -> float:
        picture = keras.Input((8, 8, 3))
        x = layers.Conv2D(32, 3, padding="same")(picture)
        for _ in range(blocks):
            y = layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same")(x))
            x = layers.Add()([x, layers.ReLU()(y)])
        model = keras.Model(picture, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
        times = []
        for _ in range(2):
            start = time.process_time()
            channel_graph(model)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(200) < 3 * seconds(100)
