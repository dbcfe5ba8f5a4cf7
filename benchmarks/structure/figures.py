"""The figures of the structural techniques: median of three seeds, on MNIST's test digits.

    python -m benchmarks.structure.figures mnist.npz --folder baselines

Baselines that are not in the folder yet are trained first (an hour on one core). The settings are
those of `recipes.py`, chosen by `benchmarks.structure.choose` without the test digits.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.common import bench, print_table
from benchmarks.structure import recipes
from benchmarks.structure.experiments import Laboratory, Loss, compressed, lesson, medians

Row = tuple[str, str, str]
SEEDS = (0, 1, 2)


def channels(laboratory: Laboratory, seeds: tuple[int, ...]) -> tuple[list[Row], bool]:
    """Channel pruning and int8 on the CNN: as fast as 0.5 and 0.2 points allow."""
    rows, holds = [], True
    for recipe, most_lost, least_speedup in (
        (recipes.fast, 0.5, 12.0),
        (recipes.careful, 0.2, 8.0),
    ):
        found = _seeds(laboratory, "cnn", recipe, seeds)
        rows += [
            (f"cnn, {recipe.__name__}: points lost", _lost(found), f"at most {most_lost:g}"),
            (
                f"cnn, {recipe.__name__}: times faster",
                _spread([one.speedup for one in found], "{:.1f}"),
                f"at least {least_speedup:g}",
            ),
        ]
        middle = medians(found)
        holds &= middle.points_lost <= most_lost and middle.speedup >= least_speedup
    return rows, holds


def blocks(laboratory: Laboratory, seeds: tuple[int, ...]) -> tuple[list[Row], bool]:
    """Half and three quarters of 16 residual blocks removed."""
    rows, holds = [], True
    for recipe, most_lost in ((recipes.half_as_deep, 0.2), (recipes.quarter_as_deep, 0.5)):
        found = _seeds(laboratory, "resnet", recipe, seeds)
        name = recipe.__name__.replace("_", " ")
        rows += [
            (f"resnet, {name}: points lost", _lost(found), f"at most {most_lost:g}"),
            (
                f"resnet, {name}: times faster",
                _spread([one.speedup for one in found], "{:.2f}"),
                "",
            ),
        ]
        holds &= medians(found).points_lost <= most_lost
    return rows, holds


def hinton(laboratory: Laboratory, seeds: tuple[int, ...]) -> tuple[list[Row], bool]:
    """A student alone, its teacher, and the student taught."""
    found = [lesson(laboratory, recipes.STUDENT, recipes.STUDENT_EPOCHS, seed) for seed in seeds]
    rows = [
        ("teacher: test error, %", _spread([one.teacher for one in found], "{:.2f}"), ""),
        ("student alone: test error, %", _spread([one.alone for one in found], "{:.2f}"), ""),
        ("student taught: test error, %", _spread([one.taught for one in found], "{:.2f}"), ""),
        (
            "share of the gap closed",
            _spread([one.gap_closed for one in found], "{:.0%}"),
            "at least 50 %",
        ),
    ]
    return rows, median(one.gap_closed for one in found) >= 0.5


EXPERIMENTS: dict[str, Callable[[Laboratory, tuple[int, ...]], tuple[list[Row], bool]]] = {
    "channels": channels,
    "blocks": blocks,
    "hinton": hinton,
}


def _seeds(
    laboratory: Laboratory,
    net: str,
    recipe: Callable[[int], recipes.Recipe],
    seeds: tuple[int, ...],
) -> list[Loss]:
    return [compressed(laboratory, net, recipe, seed) for seed in seeds]


def _lost(found: list[Loss]) -> str:
    errors = medians(found)
    lost = _spread([one.points_lost for one in found], "{:+.2f}")
    return f"{lost}  ({errors.baseline_error:.2f} -> {errors.error:.2f} %)"


def _spread(values: list[float], form: str) -> str:
    """The median, and all values behind it."""
    return f"{form.format(median(values))}  [{', '.join(map(form.format, sorted(values)))}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path, nargs="?", default=os.environ.get("MNIST"))
    parser.add_argument("--folder", type=Path, default=Path(".penjing/baselines"))
    parser.add_argument("--only", choices=sorted(EXPERIMENTS), nargs="+", default=EXPERIMENTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    if arguments.mnist is None:
        parser.error("name MNIST as keras.datasets.mnist delivers it: x_train y_train x_test ...")
    holds = True
    with bench() as service:
        laboratory = Laboratory.open(
            service.client, Path(arguments.mnist), arguments.folder, choosing=False
        )
        for name in arguments.only:
            rows, is_held = EXPERIMENTS[name](laboratory, tuple(arguments.seeds))
            print_table(f"{name}: median of {len(arguments.seeds)} seeds", rows)
            holds &= is_held
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
