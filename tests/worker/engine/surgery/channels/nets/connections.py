"""Small networks whose channels are added, joined, shared, or hidden in another model.

A table at the end says how many units each group has.
"""

from typing import Any

import keras

from tests.worker.engine.surgery.channels.nets.common import PICTURE, SEQUENCE, Counts, Net

layers, ops = keras.layers, keras.ops


def token_mixing() -> Any:
    """Dense over steps between two permutations: channels and tokens are both made."""
    sequence = keras.Input(SEQUENCE)
    x = layers.Dense(8, name="embed")(sequence)
    y = layers.Permute((2, 1))(x)
    y = layers.Dense(7, activation="gelu", name="tokens")(y)
    y = layers.Dense(6, name="back")(y)
    x = layers.Add()([x, layers.Permute((2, 1))(y)])
    return keras.Model(sequence, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


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


def nested_by_name() -> Any:
    """A model with two inputs and two outputs, both of which have names."""
    given = {"wide": keras.Input((8,), name="wide"), "narrow": keras.Input((6,), name="narrow")}
    both = layers.Concatenate(name="both")([given["wide"], given["narrow"]])
    made = {"y": layers.Dense(7, name="y")(both), "z": layers.ReLU(name="z")(given["narrow"])}
    inner = keras.Model(given, made, name="inner")
    features = keras.Input((5,))
    a, b = layers.Dense(8, name="a")(features), layers.Dense(6, name="b")(features)
    read = inner({"narrow": b, "wide": a})
    x = layers.Concatenate()([read["z"], read["y"]])
    return keras.Model(features, layers.Dense(3)(x))


def built_later() -> Any:
    model = keras.Sequential(
        [layers.Conv2D(8, 3, name="c"), layers.Flatten(), layers.Dense(3, name="classes")]
    )
    model.build((None, *PICTURE))
    return model


def several_ends() -> Any:
    """An output that is read again stays; what lies between can go."""
    left, right = keras.Input((4,), name="left"), keras.Input((5,), name="right")
    x = layers.Concatenate()([layers.Dense(6, name="a")(left), layers.Dense(7, name="b")(right)])
    first = layers.Dense(4, activation="softmax", name="first")(x)
    second = layers.Dense(2, name="second")(layers.Dense(8, name="hidden")(first))
    return keras.Model([left, right], {"first": first, "second": second})


def operations() -> Any:
    """Operators of tensors stand in the graph without a layer."""
    picture = keras.Input(PICTURE)
    x = layers.Conv2D(8, 3, padding="same", name="a")(picture)
    x = ops.clip(x, -2.0, 2.0) * ops.relu6(x + 3.0) * (1.0 / 6.0)
    y = layers.Conv2D(8, 1, name="b")(x)
    x = ops.concatenate([ops.maximum(x, y), -x], axis=-1)
    x = ops.transpose(ops.mean(x, axis=(1, 2), keepdims=True), (0, 3, 1, 2))
    x = ops.expand_dims(ops.max(x, axis=-1), 1)
    return keras.Model(picture, layers.Dense(3)(layers.Flatten()(x)))


NETS: dict[str, tuple[Net, Counts]] = {
    "token_mixing": (token_mixing, {"embed": 8, "tokens": 7}),
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
    "nested_by_name": (nested_by_name, {"a": 8, "b": 6, "inner/y": 7}),
    "built_later": (built_later, {"c": 8}),
    "several_ends": (several_ends, {"a": 6, "b": 7, "hidden": 8}),
    "operations": (operations, {"a": 8}),
}
