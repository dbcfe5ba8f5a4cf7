"""Tensors that layers are given beside their data: masks, states, in whatever way."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import outputs_of, rows_for
from tests.worker.engine.surgery.channels.reference import in_float64, random_keep, zeroed_outputs
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.removal import removed

layers = keras.layers

LENGTH, WIDTH = 7, 7


def attended(x: Any, mask: Any) -> Any:
    return layers.MultiHeadAttention(2, 4, name="reads")(x, x, attention_mask=mask)


def attended_by_name(x: Any, mask: Any) -> Any:
    attention = layers.MultiHeadAttention(2, 4, name="reads")
    return attention(query=x, value=x, key=x, attention_mask=mask)


def softened(x: Any, mask: Any) -> Any:
    return layers.Softmax(axis=1, name="reads")(x, mask=mask)


def softened_by_name(x: Any, mask: Any) -> Any:
    return layers.Softmax(axis=1, name="reads")(inputs=x, mask=mask)


def recurrent(x: Any, mask: Any) -> Any:
    steps = layers.Reshape((LENGTH * WIDTH,))(mask)[:, :LENGTH]
    return layers.GRU(4, name="reads")(x, mask=steps)


def pooled(x: Any, mask: Any) -> Any:
    steps = layers.Permute((2, 1))(mask)[:, :, 0]
    return layers.GlobalAveragePooling1D(name="reads")(x, mask=steps)


READERS = (attended, attended_by_name, softened, softened_by_name, recurrent, pooled)


def masked(read: Callable[[Any, Any], Any]) -> Any:
    """A mask is made by a Dense, whose units must stay."""
    sequence = keras.Input((LENGTH, WIDTH), name="sequence")
    x = layers.Dense(WIDTH, name="data")(sequence)
    mask = layers.Dense(WIDTH, name="mask")(sequence) > 0.0
    read_out = read(x, mask)
    return keras.Model(sequence, layers.Dense(3, name="classes")(layers.Dense(6)(read_out)))


@pytest.mark.parametrize("read", READERS)
def test_what_a_mask_is_made_of_stays_and_the_rest_goes(read: Callable[[Any, Any], Any]) -> None:
    model = in_float64(masked(read))
    graph = channel_graph(model)
    keep = random_keep(graph)

    smaller = removed(model, graph, keep, {}).model

    assert "mask" not in graph.by_name
    assert "mask" in {layer.layer for layer in graph.frozen}
    inputs = rows_for(model, 2)
    wanted = zeroed_outputs(model, graph, keep, list(inputs.values()))
    np.testing.assert_allclose(outputs_of(smaller, inputs)[0], wanted[0], rtol=0, atol=1e-9)


def test_what_is_given_beside_the_data_is_named_as_the_reason() -> None:
    frozen = {layer.layer: layer.reason for layer in channel_graph(masked(attended)).frozen}

    assert frozen["mask"] == (
        "its channels reach 'reads': it is given them beside its data, as a mask is"
    )


@pytest.mark.parametrize("heads", [1, 2])
def test_heads_stay_where_the_mask_tells_them_apart(heads: int) -> None:
    sequence, mask = keras.Input((LENGTH, 5)), keras.Input((heads, LENGTH, LENGTH), dtype="bool")
    attention = layers.MultiHeadAttention(2, 4, name="reads")
    x = attention(sequence, sequence, attention_mask=mask)

    graph = channel_graph(keras.Model([sequence, mask], layers.Dense(3)(x)))

    assert ("reads:heads" in graph.by_name) == (heads == 1)
    assert "reads" in graph.by_name


def test_a_state_by_name_is_not_taken_for_the_sequence() -> None:
    sequence = keras.Input((LENGTH, WIDTH))
    state = layers.Dense(4, name="state")(sequence[:, 0])
    x = layers.GRU(4, name="reads")(sequences=sequence, initial_state=state)

    graph = channel_graph(keras.Model(sequence, layers.Dense(3)(x)))

    assert "its tensors are given by name" in {f.layer: f.reason for f in graph.frozen}["state"]
