"""Trains the two nets of the literature on compression, LeNet-300-100 and LeNet-5 (Caffe's widths).

    python -m benchmarks.numbers.train_nets mnist.npz nets

Writes lenet300.keras and lenet5.keras, trained on the first 55,000 digits / 255, uncompiled. The
other training digits stay for choosing settings; the test split is read once, at the end.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

SEED = 0
EPOCHS = 20
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 1e-3
TRAINED_ON = 55_000


def lenet300() -> keras.Model:
    """266,610 parameters, 10 logits."""
    hidden = [layers.Dense(300, "relu", name="fc1"), layers.Dense(100, "relu", name="fc2")]
    parts = [keras.Input((28, 28, 1)), layers.Flatten(), *hidden, layers.Dense(10, name="fc3")]
    return keras.Sequential(parts, name="lenet300")


def lenet5() -> keras.Model:
    """431,080 parameters, 10 logits."""
    first = [layers.Conv2D(20, 5, activation="relu", name="c1"), layers.MaxPooling2D()]
    second = [layers.Conv2D(50, 5, activation="relu", name="c2"), layers.MaxPooling2D()]
    head = [layers.Flatten(), layers.Dense(500, "relu", name="fc1"), layers.Dense(10, name="fc2")]
    return keras.Sequential([keras.Input((28, 28, 1)), *first, *second, *head], name="lenet5")


NETS: Mapping[str, Callable[[], keras.Model]] = {"lenet300": lenet300, "lenet5": lenet5}


def trained(build: Callable[[], keras.Model], images: Any, labels: Any) -> keras.Model:
    """Adam, whose learning rate falls to zero as a cosine; an uncompiled copy comes back."""
    keras.utils.set_random_seed(SEED)
    model = build()
    steps = EPOCHS * -(-len(images) // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(PEAK_LEARNING_RATE, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=2)
    kept = build()
    kept.set_weights(model.get_weights())
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with np.load(arguments.mnist) as digits:
        images, labels = (digits[f"{name}_train"][:TRAINED_ON] for name in ("x", "y"))
        x_test, y_test = digits["x_test"], digits["y_test"]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, build in NETS.items():
        model = trained(build, images[..., np.newaxis] / np.float32(255), labels)
        model.save(arguments.folder / f"{name}.keras")
        answers = model.predict(x_test[..., np.newaxis] / np.float32(255), verbose=0)
        print(f"{name}: test error {100 * float((answers.argmax(1) != y_test).mean()):.2f} %")


if __name__ == "__main__":
    main()
