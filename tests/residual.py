"""Networks with blocks to take out, for the tests of layer removal."""

from typing import Any

import keras

LAYERS = keras.layers


def residual_model(blocks: int = 3, *, width: int = 4) -> Any:
    """6x6x1 pictures -> `stem` -> `blocks` times relu(x + f(x)) -> `pool` -> `logits` of 3 classes.

    f of block i: `conv_i_1`, `norm_i_1`, `relu_i_1`, `conv_i_2`, `norm_i_2`; sum `add_i`, then
    `relu_i`.
    """
    keras.utils.set_random_seed(21)
    picture = keras.Input((6, 6, 1), name="picture")
    x = LAYERS.Conv2D(width, 3, padding="same", activation="relu", name="stem")(picture)
    for index in range(blocks):
        x = residual_block(x, index, width)
    x = LAYERS.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(picture, LAYERS.Dense(3, name="logits")(x), name="residual_model")


def residual_block(x: Any, index: int, width: int) -> Any:
    """One block as `residual_model` has it."""
    y = LAYERS.Conv2D(width, 3, padding="same", name=f"conv_{index}_1")(x)
    y = LAYERS.BatchNormalization(name=f"norm_{index}_1")(y)
    y = LAYERS.ReLU(name=f"relu_{index}_1")(y)
    y = LAYERS.Conv2D(width, 3, padding="same", name=f"conv_{index}_2")(y)
    y = LAYERS.BatchNormalization(name=f"norm_{index}_2")(y)
    return LAYERS.ReLU(name=f"relu_{index}")(LAYERS.Add(name=f"add_{index}")([x, y]))


def dense_chain(layers: int = 3, *, width: int = 5) -> Any:
    """4 numbers -> `widen` -> `dense_0` ... each `width` to `width` with relu -> `classes`."""
    keras.utils.set_random_seed(22)
    chain = [LAYERS.Dense(width, activation="relu", name=f"dense_{i}") for i in range(layers)]
    return keras.Sequential(
        [
            keras.Input((4,), name="features"),
            LAYERS.Dense(width, activation="relu", name="widen"),
            *chain,
            LAYERS.Dense(3, activation="softmax", name="classes"),
        ],
        name="dense_chain",
    )


def transformer_model() -> Any:
    """Sequences of 5 x 3 -> `embed` (4) -> attention and MLP, norms before, sums after them."""
    keras.utils.set_random_seed(23)
    sequence = keras.Input((5, 3), name="sequence")
    x = LAYERS.Dense(4, name="embed")(sequence)
    y = LAYERS.LayerNormalization(name="norm_1")(x)
    y = LAYERS.MultiHeadAttention(2, 2, name="attention")(y, y)
    x = LAYERS.Add(name="add_1")([x, y])
    y = LAYERS.LayerNormalization(name="norm_2")(x)
    y = LAYERS.Dense(8, activation="gelu", name="expand")(y)
    x = LAYERS.Add(name="add_2")([x, LAYERS.Dense(4, name="project")(y)])
    x = LAYERS.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(sequence, LAYERS.Dense(3, name="logits")(x), name="transformer_model")


def nested_chain() -> Any:
    """`backbone` (4 -> `inner_0` -> `inner_1` -> `inner_2`, all 4 wide), then `classes`."""
    keras.utils.set_random_seed(24)
    inside = keras.Input((4,), name="inside")
    x = inside
    for index in range(3):
        x = LAYERS.Dense(4, activation="tanh", name=f"inner_{index}")(x)
    backbone = keras.Model(inside, x, name="backbone")
    features = keras.Input((4,), name="features")
    widened = LAYERS.Dense(4, name="first")(features)
    classes = LAYERS.Dense(3, activation="softmax", name="classes")(backbone(widened))
    return keras.Model(features, classes, name="nested_chain")


def masked_sequences(blocks: int = 2) -> Any:
    """Words, 0 standing for none, through residual blocks of GRUs both ways: [12] -> [3]."""
    words = keras.Input((12,), dtype="int32", name="words")
    x = LAYERS.Embedding(20, 8, mask_zero=True, name="words_of")(words)
    for block in range(blocks):
        gru = LAYERS.GRU(4, return_sequences=True)
        y = LAYERS.Bidirectional(gru, name=f"both_ways_{block}")(x)
        x = LAYERS.Add(name=f"add_{block}")([x, LAYERS.LayerNormalization(name=f"norm_{block}")(y)])
    x = LAYERS.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(words, LAYERS.Dense(3, name="classes")(x), name="masked_sequences")
