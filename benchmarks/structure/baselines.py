"""Trains the baselines of the structural figures, to convergence, and keeps them in a folder.

    python -m benchmarks.structure.baselines mnist.npz folder --net cnn --seeds 0 1 2

5,000 training digits are kept aside for choosing settings; no baseline trains on them. The number
of epochs is fixed and the test split is read once, at the end: nothing is chosen by it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.structure import nets

SPLIT_SEED = 7
KEPT_ASIDE = 5_000
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 1e-3

Array = NDArray[Any]


@dataclass(frozen=True)
class Baseline:
    """How one net is made: the largest shift of its training images in pixels, and its epochs."""

    build: Callable[[], keras.Model]
    epochs: int
    shift: int = 0


BASELINES: dict[str, Baseline] = {
    "cnn": Baseline(nets.cnn, epochs=10),
    "resnet": Baseline(nets.resnet, epochs=8),
    "teacher": Baseline(lambda: nets.mlp(1200, 1200, dropout=0.5), epochs=20, shift=2),
}


@dataclass(frozen=True)
class Digits:
    """MNIST in three parts: to train on, to choose on, to report on; uint8, [rows, 28, 28]."""

    x_train: Array
    y_train: Array
    x_choose: Array
    y_choose: Array
    x_test: Array
    y_test: Array

    @classmethod
    def of(cls, mnist: Path) -> "Digits":
        with np.load(mnist) as arrays:
            x, y = arrays["x_train"], arrays["y_train"]
            order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
            kept, trained = order[:KEPT_ASIDE], order[KEPT_ASIDE:]
            return cls(x[trained], y[trained], x[kept], y[kept], arrays["x_test"], arrays["y_test"])

    def write(self, target: Path, *, choosing: bool) -> Path:
        """A data set of a job: what is kept aside, or the test digits, in the place of `test`."""
        x, y = (self.x_choose, self.y_choose) if choosing else (self.x_test, self.y_test)
        np.savez(target, x_train=self.x_train, y_train=self.y_train, x_test=x, y_test=y)
        return target


def as_input(images: Array) -> Array:
    """[rows, 28, 28] in 0..255 -> [rows, 28, 28, 1] in [0, 1]."""
    scaled: Array = (images / np.float32(255))[..., np.newaxis]
    return scaled


def train(name: str, digits: Digits, seed: int) -> keras.Model:
    """Adam; the learning rate falls to zero as a cosine, so that training has come to rest."""
    baseline = BASELINES[name]
    keras.utils.set_random_seed(seed)
    model = baseline.build()
    steps = baseline.epochs * -(-len(digits.x_train) // BATCH_SIZE)
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(PEAK_LEARNING_RATE, steps)
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    rng = np.random.default_rng(seed)
    for _ in range(baseline.epochs):
        images = shifted(digits.x_train, baseline.shift, rng)
        model.fit(as_input(images), digits.y_train, batch_size=BATCH_SIZE, verbose=0)
    return model


def shifted(images: Array, most: int, rng: np.random.Generator) -> Array:
    """Every image moved by up to `most` pixels each way, blank where it came from."""
    if not most:
        return images
    padded = np.pad(images, ((0, 0), (most, most), (most, most)))
    offsets = rng.integers(0, 2 * most + 1, (len(images), 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:], axis=(1, 2))
    moved: Array = windows[np.arange(len(images)), offsets[:, 0], offsets[:, 1]]
    return moved


def baseline_file(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{name}_{seed}.keras"


def make(name: str, digits: Digits, seed: int, folder: Path) -> Path:
    """The baseline's file; trained if it is not there yet."""
    path = baseline_file(folder, name, seed)
    if not path.exists():
        started = time.monotonic()
        model = train(name, digits, seed)
        _, accuracy = model.evaluate(as_input(digits.x_test), digits.y_test, verbose=0)
        folder.mkdir(parents=True, exist_ok=True)
        model.save(path)
        print(
            f"{name} {seed}: test error {100 * (1 - accuracy):.2f} %, "
            f"{model.count_params():,} parameters, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--net", choices=sorted(BASELINES), nargs="+", default=sorted(BASELINES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    digits = Digits.of(arguments.mnist)
    for seed in arguments.seeds:
        for name in arguments.net:
            make(name, digits, seed, arguments.folder)


if __name__ == "__main__":
    main()
