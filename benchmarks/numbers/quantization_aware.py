"""Integers after training and in training: accuracy, agreement with the Keras model, gzip bytes.

    python -m benchmarks.numbers.quantization_aware mnist.npz lenet300.keras lenet5.keras

Each recipe is a job as the engine runs it. `points` are those of error above the uploaded model on
the test split; `agreement` is the share of test rows on which the tflite file and the Keras file of
the same job decide alike. `--choose` judges on the last 5,000 training rows, which are then not
trained on; so the settings below were chosen.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.numbers.engine_jobs import SCALE, carried_out, write_digits

QAT = "quantization_aware_training"
LEARNING: Mapping[str, Any] = {"epochs": 2, "batch_size": 128, "learning_rate": 3e-4}
FULL_INTEGER: Mapping[str, Any] = {"technique": "full_integer_quantization"}
SMALL: tuple[Mapping[str, Any], ...] = (
    {
        "technique": "magnitude_pruning",
        "sparsity": 0.94,
        "scope": "global",
        "schedule": "polynomial",
        "recovery": {
            "epochs": 4,
            "batch_size": 128,
            "learning_rate": 2e-3,
            "distill": True,
            "validation_fraction": 0.0,
        },
    },
    {"technique": "weight_clustering", "number_of_clusters": 16},
)
RECIPES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "int8 after training": (FULL_INTEGER,),
    "int8 in training": ({"technique": QAT, **LEARNING},),
    "int8, averaged ranges": ({"technique": QAT, **LEARNING, "ranges": "moving_average"},),
    "4-bit weights": ({"technique": QAT, **LEARNING, "weight_bits": 4},),
    "4-bit weights, lsq": ({"technique": QAT, **LEARNING, "weight_bits": 4, "method": "lsq"},),
    "pruned, clustered, then int8": (*SMALL, FULL_INTEGER),
    "pruned, clustered, int8 in training": (*SMALL, {"technique": QAT, **LEARNING}),
    "entropy-penalized, then int8": (
        {
            "technique": "entropy_penalized_training",
            "rate_weight": 0.7,
            "epochs": 20,
            "batch_size": 128,
            "distill": True,
        },
        FULL_INTEGER,
    ),
}


@dataclass(frozen=True)
class Figures:
    """One recipe on one net. points: of error, gained; `agreement` of test rows, in [0, 1]."""

    variant: str
    error: float
    points: float
    agreement: float
    gzip_bytes: int
    speedup: float


def figures(
    model: Path, digits: Path, steps: tuple[Mapping[str, Any], ...], job: Path, seed: int
) -> Figures:
    """Carry out one job and compare its two files."""
    recipe = {"seed": seed, "steps": [dict(step) for step in steps]}
    result = carried_out(model, digits, recipe, ("tflite", "keras"), job)
    before, after = result.report.baseline, result.report.optimized
    assert before.accuracy is not None, "digits are labelled"
    assert after.accuracy is not None, "digits are labelled"
    assert before.latency_ms_p50 is not None, "every file is timed"
    assert after.latency_ms_p50 is not None, "every file is timed"
    files = {artifact.kind: job / artifact.path for artifact in result.artifacts}
    return Figures(
        variant=str(after.variant),
        error=100 * (1 - after.accuracy),
        points=100 * (before.accuracy - after.accuracy),
        agreement=agreement(files["keras"], files["tflite"], digits),
        gzip_bytes=after.compressed_size_bytes,
        speedup=before.latency_ms_p50 / after.latency_ms_p50,
    )


def agreement(keras_file: Path, tflite_file: Path, digits: Path) -> float:
    """The share of test rows on which both choose the same class."""
    model = keras.saving.load_model(keras_file)
    with np.load(digits) as arrays:
        rows = arrays["x_test"].astype(np.float32) * np.float32(SCALE)
    rows = rows.reshape(-1, *model.input_shape[1:])
    runner = Interpreter(model_path=str(tflite_file)).get_signature_runner()
    (name,) = runner.get_input_details()
    theirs = np.concatenate(
        [_only(runner(**{name: rows[i : i + 500]})) for i in range(0, len(rows), 500)]
    )
    ours = model.predict(rows, batch_size=500, verbose=0)
    return float((ours.argmax(-1) == theirs.argmax(-1)).mean())


def runs_of(
    model: Path, digits: Path, recipe: str, jobs: Path, seeds: Sequence[int]
) -> list[Figures]:
    """One job for each seed, in folders of `jobs`."""
    runs = []
    for seed in seeds:
        job = jobs / str(seed)
        job.mkdir(parents=True)
        runs.append(figures(model, digits, RECIPES[recipe], job, seed))
        print(f"{model.stem}, {recipe}, seed {seed}: {runs[-1]}", flush=True)
    return runs


def median_of(runs: Sequence[Figures]) -> Figures:
    """Each figure's own median over the seeds."""
    return Figures(
        variant=" ".join(sorted({one.variant for one in runs})),
        error=median(one.error for one in runs),
        points=median(one.points for one in runs),
        agreement=median(one.agreement for one in runs),
        gzip_bytes=int(median(one.gzip_bytes for one in runs)),
        speedup=median(one.speedup for one in runs),
    )


def print_net(name: str, found: Mapping[str, Figures]) -> None:
    table = Table("recipe", "file", "error", "points", "agreement", "gzip bytes", "speedup")
    for recipe, one in found.items():
        table.add_row(
            recipe,
            one.variant,
            f"{one.error:.2f}",
            f"{one.points:+.2f}",
            f"{100 * one.agreement:.2f} %",
            f"{one.gzip_bytes:,}",
            f"{one.speedup:.1f}",
        )
    print(name)
    Console().print(table)


def _only(outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    return next(iter(outputs.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="their median is shown")
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), default=tuple(RECIPES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        digits = Path(name) / "digits.npz"
        write_digits(arguments.mnist, digits, choosing=arguments.choose)
        for model in arguments.models:
            found = {}
            for index, recipe in enumerate(arguments.recipes):
                jobs = Path(name) / f"{model.stem}_{index}"
                runs = runs_of(model, digits, recipe, jobs, arguments.seeds)
                found[recipe] = median_of(runs)
            print_net(model.stem, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
