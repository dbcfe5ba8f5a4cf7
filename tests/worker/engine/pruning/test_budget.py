"""Multiply-accumulates without some channels, counted by hand and on rebuilt models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import context_for, recurrent_model
from worker.engine.pruning.budget import Share, macs_left, macs_of, shares_of
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.removal import kept_axes, removed

L = keras.layers


def test_macs_left_shrink_with_every_axis_of_a_kernel() -> None:
    shares = [Share(1000, "conv/kernel", (0, 1, 2, 3)), Share(60, "dense/kernel", (0, 1))]
    half, third = np.array([True, False]), np.array([True, False, False])

    left = macs_left(shares, {"conv/kernel": {2: half, 3: third}, "dense/kernel": {0: third}})

    assert left == pytest.approx(1000 / 6 + 60 / 3)


def test_macs_left_take_no_notice_of_other_axes() -> None:
    assert (
        macs_left([Share(80, "a/kernel", (1,))], {"a/kernel": {0: np.array([False, True])}}) == 80
    )


def transformer() -> keras.Model:
    given = keras.Input((6, 8), name="given")
    x = L.MultiHeadAttention(4, 3, name="attention")(given, given)
    x = L.Add(name="add")([x, L.Dense(8, name="twin")(given)])
    x = L.EinsumDense("abc,cd->abd", output_shape=(6, 12), name="wide")(x)
    return keras.Model(given, L.Dense(2, name="out")(L.GlobalAveragePooling1D(name="pool")(x)))


def convolutional() -> keras.Model:
    given = keras.Input((8, 8, 3), name="given")
    x = L.Conv2D(8, 3, padding="same", name="first")(given)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = L.SeparableConv2D(6, 3, name="separable")(x)
    x = L.Conv2DTranspose(4, 2, name="transposed")(x)
    x = L.Flatten(name="flatten")(x)
    return keras.Model(given, L.Dense(2, name="out")(L.Dense(10, name="hidden")(x)))


@pytest.mark.parametrize("make", [transformer, convolutional, recurrent_model])
def test_macs_left_are_those_of_the_rebuilt_model(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    context = context_for(model, tmp_path)
    graph = channel_graph(model)
    keep = {group.name: np.arange(group.count) % 3 < 2 for group in graph.groups}

    left = macs_left(shares_of(model, context), kept_axes(graph, keep))

    assert left == pytest.approx(macs_of(removed(model, graph, keep, {}).model, context))
    assert left < (macs_of(model, context) or 0)


def test_shares_name_the_layers_that_cannot_be_counted(tmp_path: Path) -> None:
    given = keras.Input((3, 6, 6, 1), name="given")
    loop = L.ConvLSTM2D(2, 3, name="loop")(given)
    model = keras.Model(given, L.Dense(2, name="out")(L.GlobalAveragePooling2D()(loop)))

    with pytest.raises(StepFailed, match="not known: loop"):
        shares_of(model, context_for(model, tmp_path))
