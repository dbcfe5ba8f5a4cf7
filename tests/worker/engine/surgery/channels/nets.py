"""Small networks, one for each way in which channels can hang together, with what can go.

Each function builds a network; `NETS` adds how many units each of its groups has.
"""

from collections.abc import Callable
from typing import Any

import keras

layers = keras.layers
Net = Callable[[], Any]
Counts = dict[str, int]

PICTURE, SEQUENCE = (8, 8, 3), (6, 5)


def chain(shape: tuple[int, ...], *parts: Any, dtype: str = "float32") -> Any:
    """Layers one after the other, ending in a Dense of 3 called `classes`."""
    return keras.Sequential(
        [keras.Input(shape, dtype=dtype), *parts, layers.Dense(3, name="classes")]
    )


def lenet() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, activation="tanh", name="c1"),
        layers.AveragePooling2D(2),
        layers.Conv2D(8, 2, activation="relu", name="c2"),
        layers.Flatten(),
        layers.Dense(10, activation="sigmoid", name="d1"),
    )


def dense_on_steps() -> Any:
    return chain(SEQUENCE, layers.Dense(7, name="a"), layers.Dense(6, name="b"), layers.Flatten())


def token_mixing() -> Any:
    """Dense over steps between two permutations: channels and tokens are both made."""
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="embed")(sequence)
    y = layers.Permute((2, 1))(x)
    y = layers.Dense(7, activation="gelu", name="tokens")(y)
    y = layers.Dense(6, name="back")(y)
    x = layers.Add()([x, layers.Permute((2, 1))(y)])
    return keras.Model(sequence, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


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


def separable() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.SeparableConv2D(8, 3, depth_multiplier=2, activation="relu", name="s"),
        layers.GlobalAveragePooling2D(),
    )


def separable_1d() -> Any:
    return chain(
        SEQUENCE,
        layers.Conv1D(6, 2, padding="causal", name="c"),
        layers.SeparableConv1D(8, 2, name="s"),
        layers.GlobalMaxPooling1D(),
    )


def depthwise() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, use_bias=False, name="c"),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="dw"),
        layers.BatchNormalization(scale=False),
        layers.ReLU(6.0),
        layers.Conv2D(8, 1, name="p"),
        layers.Flatten(),
    )


def depthwise_1d() -> Any:
    return chain(
        SEQUENCE,
        layers.Conv1D(6, 2, name="c"),
        layers.DepthwiseConv1D(2, activation="relu", name="dw"),
        layers.Flatten(),
    )


def volumes() -> Any:
    return chain(
        (5, 5, 5, 2),
        layers.Conv3D(6, 2, name="c"),
        layers.AveragePooling3D(2),
        layers.Conv3DTranspose(8, 2, name="t"),
        layers.GlobalAveragePooling3D(),
    )


def transposed() -> Any:
    return chain(
        PICTURE,
        layers.Conv2DTranspose(6, 3, strides=2, name="t1"),
        layers.UpSampling2D(interpolation="bilinear"),
        layers.Conv2DTranspose(8, 3, use_bias=False, name="t2"),
        layers.Cropping2D(3),
        layers.GlobalMaxPooling2D(keepdims=True),
        layers.Flatten(),
    )


def transposed_1d() -> Any:
    return chain(
        SEQUENCE,
        layers.Conv1DTranspose(6, 2, name="t"),
        layers.ZeroPadding1D(1),
        layers.UpSampling1D(),
        layers.Cropping1D(1),
        layers.Flatten(),
    )


def in_groups() -> Any:
    """Two groups of 3 inputs and 4 outputs: what goes, goes from both groups."""
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.Conv2D(8, 3, groups=2, name="g"),
        layers.GlobalAveragePooling2D(),
    )


def in_groups_of_one() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.Conv2D(12, 3, groups=6, name="g"),
        layers.GlobalAveragePooling2D(),
    )


def prelu() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.PReLU(name="own"),
        layers.Conv2D(8, 3, name="d"),
        layers.PReLU(shared_axes=[1, 2], name="shared"),
        layers.Flatten(),
    )


def activations() -> Any:
    return chain(
        (5,),
        layers.Dense(8, activation="silu", name="a"),
        layers.Activation("softplus"),
        layers.LeakyReLU(),
        layers.Dense(8, activation=layers.LeakyReLU(0.3), name="b"),
        layers.ELU(),
        layers.GaussianNoise(0.1),
        layers.Dropout(0.5),
        layers.AlphaDropout(0.1),
        layers.ActivityRegularization(0.1),
        layers.Rescaling(0.5, 0.1),
    )


def spatial_dropout() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.SpatialDropout2D(0.5),
        layers.ZeroPadding2D(1),
        layers.Dropout(0.5, noise_shape=(None, 1, 1, None)),
        layers.MaxPooling2D(),
        layers.Flatten(),
    )


def group_norm() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(8, 3, name="c"),
        layers.GroupNormalization(4, name="norm"),
        layers.Conv2D(6, 3, name="d"),
        layers.GroupNormalization(-1, center=False, name="instance"),
        layers.Flatten(),
    )


def renormalized() -> Any:
    return chain(
        SEQUENCE,
        layers.Dense(8, name="a"),
        layers.LayerNormalization(name="layer"),
        layers.Dense(7, name="b"),
        layers.RMSNormalization(name="rms"),
        layers.Dense(6, name="c"),
        layers.GroupNormalization(1, name="group"),
        layers.Flatten(),
    )


def norm_of_steps() -> Any:
    """Normalizes over the steps: exact for the channels, which lie along another axis."""
    return chain(
        SEQUENCE, layers.Dense(8, name="a"), layers.LayerNormalization(axis=1), layers.Flatten()
    )


def reshapes() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="a"),
        layers.Reshape((36, 6)),
        layers.Conv1D(7, 3, name="b"),
        layers.Permute((2, 1)),
        layers.Reshape((-1, 2, 17)),
        layers.Flatten(),
        layers.Dense(8, name="c"),
        layers.RepeatVector(3),
        layers.Reshape((3, 1, -1)),
        layers.Flatten(),
    )


def residual() -> Any:
    picture = keras.Input(PICTURE)
    x = layers.Conv2D(8, 3, padding="same", name="stem")(picture)
    for name in ("first", "second"):
        y = layers.Conv2D(6, 3, padding="same", activation="relu", name=f"{name}_a")(x)
        y = layers.Conv2D(8, 3, padding="same", name=f"{name}_b")(y)
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization()(y)]))
    return keras.Model(picture, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def merges() -> Any:
    features = keras.Input((5,))
    a = layers.Dense(8, activation="relu", name="a")(features)
    b = layers.Dense(8, name="b")(features)
    c = layers.Dense(8, name="c")(features)
    x = layers.Average()([layers.Subtract()([a, b]), layers.Multiply()([a, a])])
    x = layers.Maximum()([x, layers.Minimum()([b, c])])
    return keras.Model(features, layers.Dense(3)(x))


def dense_connections() -> Any:
    picture = keras.Input(PICTURE)
    x = layers.Conv2D(4, 3, padding="same", name="stem")(picture)
    for name in ("a", "b"):
        y = layers.BatchNormalization()(x)
        y = layers.Conv2D(5, 3, padding="same", activation="relu", name=name)(y)
        x = layers.Concatenate()([x, y])
    x = layers.Concatenate()([layers.Flatten()(layers.AveragePooling2D(4)(x))] * 2)
    return keras.Model(picture, layers.Dense(3)(x))


def concatenated_input() -> Any:
    """Beside channels of the input, which stay, those of a layer can still go."""
    picture = keras.Input(PICTURE)
    x = layers.Conv2D(6, 3, padding="same", name="a")(picture)
    x = layers.Conv2D(8, 1, name="b")(layers.Concatenate()([picture, x]))
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(x)))


def half_added() -> Any:
    """`c` is added to `a` and `b` side by side: two groups have it as their first producer."""
    features = keras.Input((5,))
    c = layers.Dense(8, name="c")(features)
    a, b = layers.Dense(5, name="a")(features), layers.Dense(3, name="b")(features)
    x = layers.Add()([c, layers.Concatenate()([a, b])])
    return keras.Model(features, layers.Dense(3)(x))


def along_height() -> Any:
    picture = keras.Input(PICTURE)
    a, b = layers.Conv2D(6, 3, name="a")(picture), layers.Conv2D(6, 5, name="b")(picture)
    b = layers.ZeroPadding2D(((0, 0), (1, 1)))(b)
    x = layers.Concatenate(axis=1)([a, b])
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(x)))


def squeeze_and_excitation() -> Any:
    picture = keras.Input(PICTURE)
    x = layers.Conv2D(8, 3, name="c")(picture)
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(4, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply()([x, gate])
    return keras.Model(picture, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def gate_of_lower_rank() -> Any:
    """[batch, channels] times [batch, steps, channels]: Keras adds the missing axis."""
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="a")(sequence)
    gate = layers.Dense(8, activation="sigmoid", name="gate")(layers.GlobalMaxPooling1D()(x))
    return keras.Model(sequence, layers.Dense(3)(layers.Flatten()(layers.Multiply()([x, gate]))))


def gate_of_places() -> Any:
    """[batch, height, width, 1]: its one channel is repeated, and stays."""
    picture = keras.Input(PICTURE)
    x = layers.Conv2D(8, 3, name="c")(picture)
    gate = layers.Conv2D(1, 1, activation="sigmoid", name="gate")(x)
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(layers.Multiply()([x, gate]))))


def inverted_residual() -> Any:
    picture = keras.Input(PICTURE)
    x = layers.Conv2D(6, 3, padding="same", name="stem")(picture)
    y = layers.Conv2D(12, 1, activation="relu6", name="expand")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.BatchNormalization()(y)
    x = layers.Add()([x, layers.Conv2D(6, 1, name="project")(y)])
    return keras.Model(picture, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


def shared_layer() -> Any:
    """One Dense reads two branches: what it reads of them goes together."""
    left, right = keras.Input((4,)), keras.Input((5,))
    shared = layers.Dense(7, activation="relu", name="shared")
    norm = layers.BatchNormalization(name="norm")
    a = shared(layers.Dense(6, name="a")(left))
    b = shared(layers.Dense(6, name="b")(right))
    x = layers.Concatenate()([norm(a), norm(b)])
    return keras.Model([left, right], [layers.Dense(3)(x), layers.Dense(1)(a)])


def nested() -> Any:
    """A model within a model within a model; the middle one is called twice."""
    inside = keras.Input((8,), name="inside")
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(6, name="x")], name="inner")
    body = layers.ReLU(name="relu")(inner(inside))
    middle = keras.Model(inside, layers.Dense(7, name="y")(body), name="middle")
    features = keras.Input((5,))
    a = middle(layers.Dense(8, name="a")(features))
    b = middle(layers.Dense(8, name="b")(features))
    return keras.Model(features, layers.Dense(3)(layers.Add()([a, b])))


def nested_backbone() -> Any:
    picture = keras.Input(PICTURE, name="picture")
    inside = keras.Input((None, None, 6), name="inside")
    x = layers.Conv2D(8, 3, name="c")(inside)
    x = layers.Reshape((1, 1, 8), name="flat")(layers.GlobalAveragePooling2D(name="pool")(x))
    backbone = keras.Model(inside, x, name="backbone")
    x = backbone(layers.Conv2D(6, 3, name="stem")(picture))
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(x)))


def several_ends() -> Any:
    """An output that is read again stays; what lies between can go."""
    left, right = keras.Input((4,), name="left"), keras.Input((5,), name="right")
    x = layers.Concatenate()([layers.Dense(6, name="a")(left), layers.Dense(7, name="b")(right)])
    first = layers.Dense(4, activation="softmax", name="first")(x)
    second = layers.Dense(2, name="second")(layers.Dense(8, name="hidden")(first))
    return keras.Model([left, right], {"first": first, "second": second})


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
    x = layers.MultiHeadAttention(4, 3, use_bias=False, name="attention")(query, value, key=key)
    return keras.Model([sequence, other], layers.Dense(3)(layers.Flatten()(x)))


def grouped_attention() -> Any:
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="embed")(sequence)
    y = layers.GroupQueryAttention(3, 6, 3, name="attention")(x, x)
    return keras.Model(sequence, layers.Dense(3)(layers.Flatten()(layers.Add()([x, y]))))


def operations() -> Any:
    """Operators of tensors stand in the graph without a layer."""
    ops, picture = keras.ops, keras.Input(PICTURE)
    x = layers.Conv2D(8, 3, padding="same", name="a")(picture)
    x = x * ops.relu6(x + 3.0) * (1.0 / 6.0)
    y = layers.Conv2D(8, 1, name="b")(x)
    x = ops.concatenate([ops.maximum(x, y), -x], axis=-1)
    x = ops.transpose(ops.mean(x, axis=(1, 2), keepdims=True), (0, 3, 1, 2))
    x = ops.expand_dims(ops.max(x, axis=-1), 1)
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(x)))


NETS: dict[str, tuple[Net, Counts]] = {
    "lenet": (lenet, {"c1": 6, "c2": 8, "d1": 10}),
    "dense_on_steps": (dense_on_steps, {"a": 7, "b": 6}),
    "token_mixing": (token_mixing, {"embed": 8, "tokens": 7}),
    "einsum_heads": (einsum_heads, {"a": 8, "split:d": 4, "split": 6, "join": 7}),
    "einsum_elided": (einsum_elided, {"a": 8}),
    "separable": (separable, {"c": 6, "s": 8}),
    "separable_1d": (separable_1d, {"c": 6, "s": 8}),
    "depthwise": (depthwise, {"c": 6, "p": 8}),
    "depthwise_1d": (depthwise_1d, {"c": 6}),
    "volumes": (volumes, {"c": 6, "t": 8}),
    "transposed": (transposed, {"t1": 6, "t2": 8}),
    "transposed_1d": (transposed_1d, {"t": 6}),
    "in_groups": (in_groups, {"c": 3, "g": 4}),
    "in_groups_of_one": (in_groups_of_one, {"c": 6}),
    "prelu": (prelu, {"c": 6, "d": 8}),
    "activations": (activations, {"a": 8, "b": 8}),
    "spatial_dropout": (spatial_dropout, {"c": 6}),
    "group_norm": (group_norm, {"c": 4, "d": 6}),
    "renormalized": (renormalized, {"a": 8, "b": 7, "c": 6}),
    "norm_of_steps": (norm_of_steps, {"a": 8}),
    "reshapes": (reshapes, {"a": 6, "b": 7, "c": 8}),
    "residual": (residual, {"stem": 8, "first_a": 6, "second_a": 6}),
    "merges": (merges, {"a": 8}),
    "dense_connections": (dense_connections, {"stem": 4, "a": 5, "b": 5}),
    "concatenated_input": (concatenated_input, {"a": 6, "b": 8}),
    "half_added": (half_added, {"a": 5, "b": 3}),
    "along_height": (along_height, {"b": 6}),
    "squeeze_and_excitation": (squeeze_and_excitation, {"c": 8, "squeeze": 4}),
    "gate_of_lower_rank": (gate_of_lower_rank, {"a": 8}),
    "gate_of_places": (gate_of_places, {"c": 8}),
    "inverted_residual": (inverted_residual, {"stem": 6, "expand": 12}),
    "shared_layer": (shared_layer, {"a": 6, "shared": 7}),
    "nested": (nested, {"a": 8, "middle/inner/x": 6, "middle/y": 7}),
    "nested_backbone": (nested_backbone, {"stem": 6, "backbone/c": 8}),
    "several_ends": (several_ends, {"a": 6, "b": 7, "hidden": 8}),
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
    "grouped_attention": (grouped_attention, {"embed": 8, "attention:heads": 3}),
    "operations": (operations, {"a": 8}),
}
