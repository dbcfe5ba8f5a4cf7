"""The nets of the structural figures; all take 28x28x1 images in [0, 1] and give 10 logits."""

import keras
from keras import layers

BLOCKS = 16
BLOCK_CHANNELS = 24


def cnn() -> keras.Model:
    """Three 3x3 convolutions of 32, 64 and 128 filters and a dense layer: 241,546 parameters."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Conv2D(128, 3, padding="same", activation="relu", name="conv3"),
            layers.MaxPooling2D(name="pool3"),
            layers.Flatten(name="flatten"),
            layers.Dense(128, activation="relu", name="dense"),
            layers.Dense(10, name="logits"),
        ],
        name="cnn",
    )


def resnet() -> keras.Model:
    """A stem down to 7x7 and 16 residual blocks of 24 channels (two convolutions each)."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(BLOCK_CHANNELS, 3, strides=2, padding="same", name="stem_conv")(image)
    x = layers.BatchNormalization(name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.MaxPooling2D(name="stem_pool")(x)
    for number in range(1, BLOCKS + 1):
        x = _residual_block(x, f"block{number}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="resnet")


def _residual_block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    shortcut = x
    for half in ("a", "b"):
        x = layers.Conv2D(
            BLOCK_CHANNELS, 3, padding="same", use_bias=False, name=f"{name}_conv_{half}"
        )(x)
        x = layers.BatchNormalization(name=f"{name}_norm_{half}")(x)
        if half == "a":
            x = layers.ReLU(name=f"{name}_relu_a")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu_b")(x)


def mlp(*units: int, dropout: float = 0.0) -> keras.Model:
    """Dense layers of ReLU; Hinton's teacher has two of 1,200 with dropout (arXiv:1503.02531)."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Flatten(name="flatten")(image)
    for number, width in enumerate(units, 1):
        x = layers.Dense(width, activation="relu", name=f"dense{number}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="mlp")


def untrained_mlp(seed: int, *units: int) -> keras.Model:
    """The same start for the same seed."""
    keras.utils.set_random_seed(seed)
    return mlp(*units)
