"""How small the two LeNets become by entropy-penalized training, and what it costs.

    python -m benchmarks.numbers.entropy mnist.npz nets --folder entropy

`nets` holds lenet300.keras and lenet5.keras, trained on MNIST / 255. One recipe for both nets; only
the price of a bit differs, once for at most 0.2 points of test error, once for at most 0.5 (0.35).
Prices and epochs were chosen with `--choose`, which judges by the last 5,000 training digits and
trains on the others; but the price of the careful lenet300 was lowered after one run had been seen
on test. Trained nets stay in the folder and are not trained again, so two processes can share the
work (`--only`); sizes are those of the packed file, read back before it is judged.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from app.recipes.recipe import Recipe
from benchmarks.common import print_table
from benchmarks.numbers.nets import Laboratory, Made, packed_and_back

SEEDS = (0, 1, 2, 3, 4)
EPOCHS = 50
MOST_CPU_S = 600


@dataclass(frozen=True)
class Point:
    """What a net may lose, and how small it is to be for that."""

    net: str
    name: str
    rate_weight: float
    float32_bytes: int
    most_points_lost: float
    least_ratio: float


POINTS = (
    Point("lenet300", "careful", 1.1, 1_066_440, 0.2, 250),
    Point("lenet300", "small", 1.8, 1_066_440, 0.5, 320),
    Point("lenet5", "careful", 0.8, 1_724_320, 0.2, 550),
    Point("lenet5", "small", 1.5, 1_724_320, 0.35, 750),
)


@dataclass(frozen=True)
class Run:
    """One net through the recipe with one seed. Errors are in percent of the judging digits."""

    point: Point
    seed: int
    packed_bytes: int
    weights_bytes: int
    error_before: float
    error: float
    validation_error: float
    cpu_s: float

    @property
    def points_lost(self) -> float:
        return self.error - self.error_before

    @property
    def ratio(self) -> float:
        return self.point.float32_bytes / self.packed_bytes

    def __str__(self) -> str:
        return (
            f"{self.point.net} {self.point.name} seed {self.seed}: {self.packed_bytes} bytes "
            f"packed ({self.ratio:.0f}x), weights alone {self.weights_bytes}; error "
            f"{self.error_before:.2f} -> {self.error:.2f} % ({self.points_lost:+.2f}), validation "
            f"{self.validation_error:.2f} %; CPU {self.cpu_s:.0f} s"
        )


def recipe(seed: int, rate_weight: float, epochs: int) -> Recipe:
    """Three of five units out, then the training that makes the rest small."""
    start = {"technique": "channel_pruning", "pruning_ratio": 0.6, "importance": "taylor"}
    training = {
        "technique": "entropy_penalized_training",
        "rate_weight": rate_weight,
        "epochs": epochs,
        "validation_fraction": 0.05,
    }
    return Recipe.model_validate({"seed": seed, "steps": [start, training]})


def trained(laboratory: Laboratory, path: Path, asked: Recipe) -> Made:
    """What the recipe makes of the net; as it was kept at `path`, if it was."""
    if path.exists():
        return Made.read(path)
    begun = time.process_time()
    made = laboratory.made(asked)
    made = replace(made, cpu_s=time.process_time() - begun)
    made.write(path)
    return made


def carried_out(laboratory: Laboratory, point: Point, seed: int, epochs: int) -> Run:
    """Train, pack, read back, judge."""
    asked = recipe(seed, point.rate_weight, epochs)
    name = f"{point.net}-{point.name}-{point.rate_weight:g}-{epochs}-{seed}.keras"
    made = trained(laboratory, laboratory.folder / name, asked)
    packed = packed_and_back(made, laboratory.folder)
    return Run(
        point=point,
        seed=seed,
        packed_bytes=packed.packed_bytes,
        weights_bytes=packed.weights_bytes,
        error_before=laboratory.error_percent(laboratory.model),
        error=laboratory.error_percent(packed.model),
        validation_error=100 * (1 - made.score),
        cpu_s=made.cpu_s,
    )


def table(point: Point, runs: Sequence[Run]) -> Iterator[tuple[str, str, str]]:
    """What the seeds of one point came to."""
    who = f"{point.net}, {point.name}"
    ratios = _spread([run.ratio for run in runs], "{:.0f}")
    yield f"{who}: times smaller", ratios, f"at least {point.least_ratio:g}"
    alone = [point.float32_bytes / run.weights_bytes for run in runs]
    yield f"{who}: weights alone", _spread(alone, "{:.0f}"), ""
    lost = _spread([run.points_lost for run in runs], "{:+.2f}")
    yield f"{who}: points lost", lost, f"at most {point.most_points_lost:g}"
    yield f"{who}: CPU s", _spread([run.cpu_s for run in runs], "{:.0f}"), f"at most {MOST_CPU_S}"


def _spread(values: list[float], form: str) -> str:
    """The median, and all values behind it."""
    return f"{form.format(median(values))}  [{', '.join(map(form.format, sorted(values)))}]"


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("nets", type=Path, help="folder of lenet300.keras and lenet5.keras")
    parser.add_argument("--folder", type=Path, default=Path(".penjing/entropy"))
    parser.add_argument("--only", nargs="+", help="net-point, such as lenet5-small")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--rate-weight", type=float, help="in place of the points' own")
    parser.add_argument("--choose", action="store_true", help="judge by training digits")
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    rows: list[tuple[str, str, str]] = []
    for point in POINTS:
        if given.only and f"{point.net}-{point.name}" not in given.only:
            continue
        asked = replace(point, rate_weight=given.rate_weight or point.rate_weight)
        net = given.nets / f"{point.net}.keras"
        laboratory = Laboratory.open(given.mnist, net, given.folder, choosing=given.choose)
        runs = []
        for seed in given.seeds:
            runs.append(carried_out(laboratory, asked, seed, given.epochs))
            print(runs[-1], flush=True)
        rows += table(asked, runs)
    print_table("Entropy-penalized training", rows)


if __name__ == "__main__":
    main()
