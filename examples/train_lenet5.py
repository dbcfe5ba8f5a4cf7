"""Trains the example's baseline: LeNet-5 with Caffe's widths (20-50-500-10) on all of MNIST.

    python examples/train_lenet5.py --mnist mnist.npz --out examples/lenet5.keras

`mnist.npz` holds `x_train y_train x_test y_test`, uint8, as `keras.datasets.mnist` delivers it.
The number of epochs is fixed and the test split is read once, at the end: nothing is chosen by it.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

EPOCHS = 20
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 1e-3
SEED = 7


def build_lenet5() -> keras.Model:
    """28x28 gray images in [0, 1] -> 10 logits; 431,080 parameters."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            keras.layers.Conv2D(20, 5, activation="relu", name="conv1"),
            keras.layers.MaxPooling2D(name="pool1"),
            keras.layers.Conv2D(50, 5, activation="relu", name="conv2"),
            keras.layers.MaxPooling2D(name="pool2"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(500, activation="relu", name="dense1"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="lenet5",
    )


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[rows, 28, 28] in 0..255 -> [rows, 28, 28, 1] in [0, 1]."""
    return (images / np.float32(255))[..., np.newaxis]


def train(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> keras.Model:
    """Adam; the learning rate falls to zero as a cosine, so that training has come to rest."""
    keras.utils.set_random_seed(SEED)
    model = build_lenet5()
    steps = EPOCHS * -(-len(images) // BATCH_SIZE)
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(PEAK_LEARNING_RATE, steps)
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(as_input(images), labels, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=2)
    return model


def error_percent(
    model: keras.Model, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> float:
    """Share of wrong answers."""
    predicted = model.predict(as_input(images), batch_size=1000, verbose=0).argmax(axis=1)
    return float(100 * np.mean(predicted != labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("lenet5.keras"))
    arguments = parser.parse_args()
    with np.load(arguments.mnist) as mnist:
        x_train, y_train = mnist["x_train"], mnist["y_train"]
        x_test, y_test = mnist["x_test"], mnist["y_test"]
    trained = train(x_train, y_train)
    print(f"training error {error_percent(trained, x_train, y_train):.2f} %")
    print(f"test error     {error_percent(trained, x_test, y_test):.2f} %")
    # A fresh, uncompiled copy: the optimizer's moments would treble the file.
    shipped = build_lenet5()
    shipped.set_weights(trained.get_weights())
    shipped.save(arguments.out)


if __name__ == "__main__":
    main()
