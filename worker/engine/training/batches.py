"""Batches of training rows as an update takes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.recipes.steps.recovery import Augmentation, Recovery
from worker.engine.loading.splits import Split
from worker.engine.training.augmentation import augmented

Array = NDArray[Any]
Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batches:
    """Rows and what is to be learned of them, by their positions among the training rows.

    `targets` are in the order of the model's outputs. `seed` and `rank`, the number of the process
    among those that share a batch, decide how images are varied.
    """

    rows: Split
    targets: Sequence[Array]
    augmentation: Augmentation | None
    seed: int
    rank: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def inputs(self, positions: Positions, steps_done: int) -> list[Array]:
        inputs = list(self.rows.fed(positions).values())
        if self.augmentation is None:
            return inputs
        # By step, so that a resumed training varies its images as it would have.
        own = [self.seed, steps_done, *([self.rank] if self.rank else [])]
        rng = np.random.default_rng(own)
        return [augmented(x, self.augmentation, rng) if x.ndim == 4 else x for x in inputs]

    def labels(self, positions: Positions) -> list[Array]:
        return [values[positions] for values in self.targets]


def part_of(positions: Positions, rank: int, workers: int) -> Positions:
    """What one of several processes learns of a batch; the first have a row more, if it is odd."""
    return np.array_split(positions, workers)[rank]


def batches_after(
    rows: int, options: Recovery, seed: int, *, epochs_done: int, seen: int
) -> Iterator[Positions]:
    """Positions of each batch still to come, in the order in which a training takes them.

    `seen` rows of the present epoch were learned from.
    """
    rng = np.random.default_rng(seed)
    for _ in range(epochs_done):
        rng.permutation(rows)
    for _ in range(epochs_done, options.epochs):
        order = rng.permutation(rows)
        for start in range(seen, rows, options.batch_size):
            yield order[start : start + options.batch_size]
        seen = 0
