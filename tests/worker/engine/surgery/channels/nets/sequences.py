"""Small networks over steps: words, recurrent layers, attention.

A table at the end says how many units each group has.
"""

from typing import Any

import keras

from tests.worker.engine.surgery.channels.nets.common import SEQUENCE, Counts, Net, chain

layers, ops = keras.layers, keras.ops


def dense_on_steps() -> Any:
    return chain(SEQUENCE, layers.Dense(7, name="a"), layers.Dense(6, name="b"), layers.Flatten())


def einsum_heads() -> Any:
    return chain(
        SEQUENCE,
        layers.Dense(8, name="a"),
        layers.EinsumDense("abc,cde->abde", (None, 4, 6), bias_axes="de", name="split"),
        layers.EinsumDense("abde,def->abf", (None, 7), bias_axes="f", name="join"),
        layers.GlobalMaxPooling1D(),
    )


def einsum_elided() -> Any:
    return chain(
        SEQUENCE,
        layers.EinsumDense("...c,cd->...d", 8, bias_axes="d", activation="relu", name="a"),
        layers.EinsumDense("abc,bc->abc", (6, 8), name="each"),
        layers.Flatten(),
    )


def masked_steps() -> Any:
    """Words of 0 are no words: the mask reaches layers as an argument of its own."""
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True, name="words")(words)
    y = layers.TimeDistributed(layers.Dense(8, activation="relu"), name="each")(x)
    x = layers.BatchNormalization()(layers.Add()([x, y]))
    x = layers.LSTM(7, return_sequences=True, name="lstm")(x)
    return keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def softmax_of_steps() -> Any:
    """Softmax along the steps: exact for the channels, which lie along another axis."""
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="a")(sequence)
    weights = layers.Softmax(axis=1)(layers.Dense(8, name="b")(x))
    x = layers.Multiply()([x, weights])
    return keras.Model(sequence, layers.Dense(3)(ops.sum(x, axis=1)))


def embedding() -> Any:
    return chain(
        (6,),
        layers.Embedding(20, 8, name="words"),
        layers.Conv1D(7, 2, activation="relu", name="c"),
        layers.GlobalMaxPooling1D(),
        dtype="int32",
    )


def distributed() -> Any:
    return chain(
        (4, 8, 8, 3),
        layers.TimeDistributed(layers.Conv2D(6, 3), name="frames"),
        layers.TimeDistributed(layers.BatchNormalization(), name="norm"),
        layers.TimeDistributed(layers.Flatten()),
        layers.TimeDistributed(layers.Dense(8, activation="relu"), name="each"),
        layers.GRU(7, name="gru"),
    )


def recurrent() -> Any:
    return chain(
        SEQUENCE,
        layers.Masking(),
        layers.LSTM(8, return_sequences=True, name="lstm"),
        layers.GRU(7, return_sequences=True, name="gru"),
        layers.GRU(6, return_sequences=True, reset_after=False, use_bias=False, name="old"),
        layers.SimpleRNN(5, name="simple"),
    )


def encoder_decoder() -> Any:
    """The states of one LSTM start another: their units are the same ones."""
    sequence = keras.Input(SEQUENCE)
    encoded, *states = layers.LSTM(8, return_state=True, name="encoder")(sequence)
    x = layers.LSTM(8, return_sequences=True, name="decoder")(sequence, initial_state=states)
    x = layers.Concatenate()([layers.GlobalMaxPooling1D()(x), encoded])
    return keras.Model(sequence, layers.Dense(3)(x))


def both_ways() -> Any:
    return chain(
        SEQUENCE,
        layers.Bidirectional(layers.LSTM(8, return_sequences=True), name="joined"),
        layers.Bidirectional(layers.GRU(7, return_sequences=True), merge_mode="sum", name="summed"),
        layers.Bidirectional(layers.SimpleRNN(6), merge_mode="mul", name="times"),
    )


def words_and_lstm() -> Any:
    return chain(
        (6,),
        layers.Embedding(20, 8, mask_zero=True, name="words"),
        layers.Bidirectional(layers.LSTM(7), merge_mode="ave", name="halves"),
        dtype="int32",
    )


def stateful() -> Any:
    inputs = keras.Input(batch_shape=(2, *SEQUENCE))
    x = layers.LSTM(8, stateful=True, name="lstm")(inputs)
    return keras.Model(inputs, layers.Dense(3)(x))


def attention() -> Any:
    """A transformer block, without its layer normalizations."""
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="embed")(sequence)
    y = layers.MultiHeadAttention(4, 3, value_dim=5, name="attention")(x, x)
    x = layers.Add()([x, y])
    y = layers.Dense(8, name="back")(layers.Dense(12, activation="gelu", name="wide")(x))
    return keras.Model(sequence, layers.Dense(3)(layers.Flatten()(layers.Add()([x, y]))))


def cross_attention() -> Any:
    """Query, key and value differ in width; the output is as wide as the query was."""
    sequence, other = keras.Input(SEQUENCE), keras.Input((7, 4))
    query, value = layers.Dense(8, name="q")(sequence), layers.Dense(6, name="v")(other)
    key = layers.Dense(7, name="k")(other)
    x = layers.MultiHeadAttention(4, 3, use_bias=False, use_gate=True, name="attention")(
        query, value, key=key
    )
    return keras.Model([sequence, other], layers.Dense(3)(layers.Flatten()(x)))


def attention_along_one_axis() -> Any:
    """Pictures attend along their height alone; the output has a width of its own."""
    picture = keras.Input((5, 4, 3))
    x = layers.Conv2D(8, 1, name="c")(picture)
    attention = layers.MultiHeadAttention(4, 3, output_shape=7, attention_axes=1, name="attention")
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(attention(x, x))))


def grouped_attention() -> Any:
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="embed")(sequence)
    y = layers.GroupQueryAttention(3, 6, 3, use_gate=True, name="attention")(x, x)
    return keras.Model(sequence, layers.Dense(3)(layers.Flatten()(layers.Add()([x, y]))))


NETS: dict[str, tuple[Net, Counts]] = {
    "dense_on_steps": (dense_on_steps, {"a": 7, "b": 6}),
    "einsum_heads": (einsum_heads, {"a": 8, "split:d": 4, "split": 6, "join": 7}),
    "einsum_elided": (einsum_elided, {"a": 8}),
    "masked_steps": (masked_steps, {"words": 8, "lstm": 7}),
    "softmax_of_steps": (softmax_of_steps, {"a": 8}),
    "embedding": (embedding, {"words": 8, "c": 7}),
    "distributed": (distributed, {"frames": 6, "each": 8, "gru": 7}),
    "recurrent": (recurrent, {"lstm": 8, "gru": 7, "old": 6, "simple": 5}),
    "encoder_decoder": (encoder_decoder, {"encoder": 8}),
    "both_ways": (both_ways, {"joined": 8, "summed": 7, "times": 6}),
    "words_and_lstm": (words_and_lstm, {"words": 8, "halves": 7}),
    "stateful": (stateful, {"lstm": 8}),
    "attention": (attention, {"embed": 8, "attention:heads": 4, "wide": 12}),
    "cross_attention": (
        cross_attention,
        {"q": 8, "v": 6, "k": 7, "attention": 8, "attention:heads": 4},
    ),
    "attention_along_one_axis": (
        attention_along_one_axis,
        {"c": 8, "attention": 7, "attention:heads": 4},
    ),
    "grouped_attention": (grouped_attention, {"embed": 8, "attention:heads": 3}),
}
