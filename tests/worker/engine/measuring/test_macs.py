"""Multiply-accumulates against counts done by hand or published."""

from typing import Any

import keras
import pytest

from tests.builders import branched_model, conv_model, nested_model, recurrent_model
from worker.engine.measuring.macs import macs_by_layer, total

L = keras.layers


def counted(*layers: Any, shape: tuple[int, ...]) -> int | None:
    model = keras.Sequential([keras.Input(shape), *layers])
    return total(macs_by_layer(model, [shape]))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (L.Dense(5), (7, 4), 7 * 4 * 5),
        (L.Conv1D(6, 3), (10, 2), 8 * 3 * 2 * 6),
        (L.Conv2D(6, 3, strides=2), (9, 9, 4), 4 * 4 * 3 * 3 * 4 * 6),
        (L.Conv2D(6, 3, groups=2), (5, 5, 4), 3 * 3 * 3 * 3 * 2 * 6),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 4), 3 * 3 * 3 * 3 * 4 * 2),
        (L.SeparableConv2D(6, 3), (5, 5, 4), 3 * 3 * (9 * 4 + 4 * 6)),
        (L.Conv2DTranspose(6, 3, strides=2), (4, 4, 2), 4 * 4 * 3 * 3 * 2 * 6),
        (L.EinsumDense("abc,cd->abd", output_shape=(7, 6)), (7, 4), 7 * 4 * 6),
        (L.EinsumDense("...x,xy->...y", output_shape=6), (7, 4), 7 * 4 * 6),
        (L.LSTM(6), (7, 4), 7 * 4 * 6 * (4 + 6)),
        (L.GRU(6), (7, 4), 7 * 3 * 6 * (4 + 6)),
        (L.SimpleRNN(6), (7, 4), 7 * 6 * (4 + 6)),
        (L.Bidirectional(L.LSTM(6)), (7, 4), 2 * 7 * 4 * 6 * (4 + 6)),
        (L.TimeDistributed(L.Dense(3)), (7, 4), 7 * 4 * 3),
        (L.BatchNormalization(), (4,), 0),
        (L.Flatten(), (4, 2), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_macs_equal_those_done_by_hand(layer: Any, shape: tuple[int, ...], expected: int) -> None:
    assert counted(layer, shape=shape) == expected


def test_macs_of_attention_count_projections_and_both_products() -> None:
    given = keras.Input((5, 8))
    attention = L.MultiHeadAttention(2, 4, name="attention")
    model = keras.Model(given, attention(given, given))
    assert macs_by_layer(model, [(5, 8)])["attention"] == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8


def test_macs_count_a_shared_layer_once_for_each_use() -> None:
    assert macs_by_layer(branched_model(), [(4,), (4,)])["shared"] == 2 * 4 * 6


def test_macs_look_into_nested_models() -> None:
    assert macs_by_layer(nested_model(), [(4,)])["inner"] == 4 * 6


def test_macs_follow_the_rows_when_the_model_leaves_a_length_open() -> None:
    model = keras.Sequential([keras.Input((None, 4)), L.LSTM(6, name="lstm")])
    assert macs_by_layer(model, [(7, 4)])["lstm"] == 7 * 4 * 6 * (4 + 6)


def test_macs_are_unknown_when_a_length_stays_open() -> None:
    model = keras.Sequential([keras.Input((None, 4)), L.LSTM(6, name="lstm")])
    assert total(macs_by_layer(model, [(None, 4)])) is None


def test_macs_are_unknown_when_a_layer_is() -> None:
    model = keras.Sequential([keras.Input((4, 5, 5, 2)), L.ConvLSTM2D(3, 2, name="loop")])
    assert macs_by_layer(model, [(4, 5, 5, 2)])["loop"] is None


def test_macs_leave_the_model_as_it_is() -> None:
    model = conv_model()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    macs_by_layer(model, [(6, 6, 1)])
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes


def test_macs_of_a_bidirectional_model_are_known() -> None:
    assert total(macs_by_layer(recurrent_model(), [(5, 3)])) == 2 * 5 * 4 * 4 * (3 + 4) + 8


def test_macs_of_mobilenet_equal_the_published_300_million() -> None:
    model = keras.applications.MobileNetV2(weights=None)
    macs = total(macs_by_layer(model, [(224, 224, 3)]))
    assert macs == pytest.approx(300e6, rel=0.01)
