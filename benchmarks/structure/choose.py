"""How the settings of the structural figures were chosen: on training digits kept aside.

    python -m benchmarks.structure.choose mnist.npz channels --folder baselines

Prints a row a candidate. What is kept aside takes the place of the test split, which is not read.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.common import bench
from benchmarks.structure import recipes
from benchmarks.structure.experiments import Laboratory, Loss, compressed, taught

SEED = 0


@dataclass(frozen=True)
class Candidate:
    """What is tried, in words, and how."""

    words: str
    run: Callable[[Laboratory], Loss]


def channels() -> Iterator[Candidate]:
    for ratio, importance in product((0.5, 0.65, 0.75), ("l1", "taylor")):
        recipe = recipes.narrow(ratio, 6, SEED, importance=importance)
        yield Candidate(f"{importance} {ratio:g}", _Compressed("cnn", recipe))


def blocks() -> Iterator[Candidate]:
    for count, importance in product((8, 12), ("greedy", "block_influence")):
        recipe = recipes.shallow(count, 3, SEED, importance=importance)
        yield Candidate(f"{importance} {count}", _Compressed("resnet", recipe))


def hinton() -> Iterator[Candidate]:
    for temperature, weight in product((4.0, 8.0, 20.0), (0.7, 0.95)):
        yield Candidate(
            f"temperature {temperature:g}, weight {weight:g}", _Taught(temperature, weight)
        )


CANDIDATES: dict[str, Callable[[], Iterator[Candidate]]] = {
    "channels": channels,
    "blocks": blocks,
    "hinton": hinton,
}


@dataclass(frozen=True)
class _Compressed:
    net: str
    recipe: recipes.Recipe

    def __call__(self, laboratory: Laboratory) -> Loss:
        return compressed(laboratory, self.net, lambda _: self.recipe, SEED)


@dataclass(frozen=True)
class _Taught:
    temperature: float
    distillation_weight: float

    def __call__(self, laboratory: Laboratory) -> Loss:
        recipe = recipes.taught(
            recipes.STUDENT_EPOCHS,
            SEED,
            temperature=self.temperature,
            distillation_weight=self.distillation_weight,
        )
        return Loss.of(taught(laboratory, recipes.STUDENT, recipe, SEED))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("what", choices=sorted(CANDIDATES))
    parser.add_argument("--folder", type=Path, default=Path(".penjing/baselines"))
    arguments = parser.parse_args()
    table = Table("candidate", "points lost", "times faster", title=arguments.what)
    with bench() as service:
        laboratory = Laboratory.open(
            service.client, arguments.mnist, arguments.folder, choosing=True
        )
        for candidate in CANDIDATES[arguments.what]():
            found = candidate.run(laboratory)
            lost, faster = f"{found.points_lost:+.2f}", f"{found.speedup:.1f}"
            print(candidate.words, lost, faster, flush=True)
            table.add_row(candidate.words, lost, faster)
    Console().print(table)


if __name__ == "__main__":
    main()
