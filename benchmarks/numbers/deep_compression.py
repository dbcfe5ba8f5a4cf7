"""Deep Compression (arXiv:1510.00149) as a plain recipe: prune, share values, pack.

    python -m benchmarks.numbers.deep_compression mnist.npz lenet300.keras lenet5.keras

One recipe for both nets, each job as the engine runs it: the packed file is read back in a fresh
process and judged there. `--choose` judges on the last 5,000 training digits, which are then not
trained on; so the settings below were chosen. The test split has no part in it.
"""

import argparse
import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import keras
from rich.console import Console
from rich.table import Table

from benchmarks.numbers.engine_jobs import carried_out, write_digits

SEEDS = (0, 1, 2, 3, 4)
MOST_POINTS = 0.1
LEAST_RATIO = 60.0

SPARSITY = 0.94
PRUNING_EPOCHS = 10
NUMBER_OF_CLUSTERS = 8
CLUSTERING_EPOCHS = 3


@dataclass(frozen=True)
class Figures:
    """One net through the recipe once: errors in percent, sizes in bytes."""

    error_before: float
    error: float
    packed_bytes: int
    weights_bytes: int | None
    cpu_s: float

    @property
    def points(self) -> float:
        """Of error, gained."""
        return self.error - self.error_before


def recipe(seed: int, settings: argparse.Namespace) -> dict[str, Any]:
    """Pruning in the course of a training, then few shared values, both taught by the upload."""
    training = {
        "batch_size": 128,
        "distill": True,
        # Every training digit is learned from; with the rate at 0 the last epoch is the best.
        "validation_fraction": 0.0,
    }
    pruning = {
        "technique": "magnitude_pruning",
        "sparsity": settings.sparsity,
        "scope": "global",
        "schedule": "polynomial",
        "recovery": {
            **training,
            "epochs": settings.pruning_epochs,
            "learning_rate": 0.002,
        },
    }
    clustering = {
        "technique": "weight_clustering",
        "number_of_clusters": settings.number_of_clusters,
        "biases": True,
        "recovery": {
            **training,
            "epochs": settings.clustering_epochs,
            "learning_rate": 0.001,
        },
    }
    return {"seed": seed, "steps": [pruning, clustering]}


def figures(model: Path, digits: Path, asked: dict[str, Any], folder: Path) -> Figures:
    """Carry out one job."""
    begun = _cpu_s()
    report = carried_out(model, digits, asked, ("packed",), folder).report
    before, after = report.baseline.accuracy, report.optimized.accuracy
    assert before is not None, "digits are labelled"
    assert after is not None, "digits are labelled"
    return Figures(
        error_before=100 * (1 - before),
        error=100 * (1 - after),
        packed_bytes=report.optimized.size_bytes,
        weights_bytes=report.optimized.weights_bytes,
        cpu_s=_cpu_s() - begun,
    )


def float32_bytes(model: Path) -> int:
    """Of the weights alone, four bytes each: what the ratios refer to."""
    return 4 * int(keras.models.load_model(model, compile=False).count_params())


def print_net(name: str, found: dict[int, Figures], whole: int) -> bool:
    """A row a seed and the medians; whether the medians are what they should be."""
    table = Table(
        "seed", "packed bytes", "of weights", "ratio", "error before", "after", "points", "CPU s"
    )
    for seed, one in found.items():
        table.add_row(
            str(seed),
            f"{one.packed_bytes:,}",
            f"{one.weights_bytes:,}",
            f"{whole / one.packed_bytes:.1f}",
            f"{one.error_before:.2f}",
            f"{one.error:.2f}",
            f"{one.points:+.2f}",
            f"{one.cpu_s:.0f}",
        )
    ratio = median(whole / one.packed_bytes for one in found.values())
    points = median(one.points for one in found.values())
    print(f"{name}, {whole:,} bytes of float32 weights")
    Console().print(table)
    print(
        f"median of {len(found)}: {ratio:.1f} times smaller (at least {LEAST_RATIO:g}), "
        f"{points:+.2f} points (at most {MOST_POINTS:+g})\n",
        flush=True,
    )
    return ratio >= LEAST_RATIO and points <= MOST_POINTS


def _cpu_s() -> float:
    """Of this process and of those it started that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--sparsity", type=float, default=SPARSITY)
    parser.add_argument("--number-of-clusters", type=int, default=NUMBER_OF_CLUSTERS)
    parser.add_argument("--pruning-epochs", type=int, default=PRUNING_EPOCHS)
    parser.add_argument("--clustering-epochs", type=int, default=CLUSTERING_EPOCHS)
    arguments = parser.parse_args()
    holds = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = folder / "digits.npz"
        write_digits(arguments.mnist, digits, choosing=arguments.choose)
        for model in arguments.models:
            found = {}
            for seed in arguments.seeds:
                job = folder / f"{model.stem}_{seed}"
                job.mkdir()
                found[seed] = figures(model, digits, recipe(seed, arguments), job)
                print(f"{model.stem}, seed {seed}: {found[seed]}", flush=True)
            holds &= print_net(model.stem, found, float32_bytes(model))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
