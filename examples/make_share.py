"""Cuts the example's data set out of MNIST: as many rows of each digit, chosen by a fixed seed.

    python examples/make_share.py --mnist mnist.npz --out examples/mnist_share.npz

Training rows come from MNIST's training split, test rows from its test split. Pixels stay uint8;
upload with `scale` = 1/255 to get the [0, 1] that the model was trained on.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRAIN_ROWS_A_DIGIT = 1000
TEST_ROWS_A_DIGIT = 500
SEED = 7


def balanced_rows(
    labels: NDArray[np.uint8], rows_a_class: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Row numbers, in the order they have in `labels`, `rows_a_class` of every class."""
    chosen = [
        rng.choice(np.flatnonzero(labels == digit), rows_a_class, replace=False)
        for digit in np.unique(labels)
    ]
    return np.sort(np.concatenate(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("mnist_share.npz"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    with np.load(arguments.mnist) as mnist:
        train = balanced_rows(mnist["y_train"], TRAIN_ROWS_A_DIGIT, rng)
        test = balanced_rows(mnist["y_test"], TEST_ROWS_A_DIGIT, rng)
        np.savez_compressed(
            arguments.out,
            x_train=mnist["x_train"][train],
            y_train=mnist["y_train"][train],
            x_test=mnist["x_test"][test],
            y_test=mnist["y_test"][test],
        )
    print(f"{len(train)} + {len(test)} rows, {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
