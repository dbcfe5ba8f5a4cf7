"""What coding gradients costs: LeNet-300-100 trained on MNIST by processes that exchange them.

    python -m benchmarks.numbers.gradients mnist.npz lenet300.keras --seeds 0 1 --workers 2

The network of the file is trained anew, from the same random weights for every row of a seed;
errors are those of the test digits, medians over the seeds. Epochs are judged on rows set aside.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import keras
from rich.console import Console
from rich.table import Table

from app.recipes.facts import DatasetOptions
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.loading.datasets import load_dataset, read_tasks
from worker.engine.loading.models import OtherModels, heads, input_specs
from worker.engine.order import DatasetFile
from worker.engine.training.evaluation import evaluate
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train

Coding = dict[str, Any]

CODINGS: tuple[Coding, ...] = (
    {"num_bits": 8, "error_feedback": False},
    {"num_bits": 4, "error_feedback": False},
    {"num_bits": 4},
    {"num_bits": 2, "scale": "largest", "error_feedback": False},
    {"num_bits": 2, "scale": "largest"},
    {"num_bits": 2, "error_feedback": False},
    {"num_bits": 2},
    {"num_bits": 2, "rounding": "stochastic", "error_feedback": False},
    {"num_bits": 2, "rounding": "stochastic"},
    {"rounding": "ternary", "error_feedback": False},
    {"rounding": "sign", "granularity": "per_channel", "error_feedback": False},
    {"rounding": "sign", "granularity": "per_channel"},
    {"rounding": "top_k", "top_k_share": 0.01},
)


@dataclass(frozen=True)
class Setting:
    """How all rows of the table are trained."""

    mnist: Path
    network: keras.Model
    folder: Path
    workers: int
    training: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """One training: test error in percent, and the figures of its coding."""

    error: float
    seconds_per_step: float
    coding: dict[str, Any]


def trained(setting: Setting, coding: Coding | None, seed: int) -> Found:
    """Train from random weights of this seed; float32 in one process without a coding."""
    keras.utils.set_random_seed(seed)
    model = type(setting.network).from_config(setting.network.get_config())
    context = _context(model, setting, seed)
    asked = (
        {**coding, "workers": setting.workers, "compare_with_float32": False} if coding else None
    )
    options = Recovery.model_validate(
        {
            **setting.training,
            "batch_size": 128,
            "validation_fraction": 1 / 12,
            "gradient_quantization": asked,
        }
    )
    history = train(model, context, options, Interventions())
    assert context.data is not None, "given"  # for mypy
    score = evaluate(model, context.data.test, context.tasks, _never).score
    assert score is not None, "it classifies"  # for mypy
    return Found(100 * (1 - score), history.seconds_per_step or 0.0, history.coding or {})


def rows_of(
    setting: Setting, codings: Sequence[Coding | None], seeds: list[int]
) -> Iterator[tuple[str, ...]]:
    """A row of the table a coding; None = float32."""
    for coding in codings:
        found = [trained(setting, coding, seed) for seed in seeds]
        errors = [one.error for one in found]
        shown = "/".join(f"{error:.2f}" for error in errors) if len(errors) > 1 else ""
        row = (_words(coding), f"{median(errors):.2f}", shown, *_figures(found))
        print(*row, sep=" | ", flush=True)
        yield row


def _figures(found: list[Found]) -> tuple[str, ...]:
    milliseconds = f"{1e3 * median(one.seconds_per_step for one in found):.1f}"
    coding = found[0].coding
    if not coding:
        return ("", "", "", "", milliseconds, "")
    entropy = median(one.coding["entropy_bits_per_symbol"] for one in found)
    return (
        f"{coding['bytes_per_step']}",
        f"{coding['bits_per_coordinate']:.2f}",
        f"{coding['compression_ratio']:.1f}",
        f"{entropy:.2f}",
        milliseconds,
        f"{coding.get('are_replicas_identical', '')}",
    )


def _words(coding: Coding | None) -> str:
    if coding is None:
        return "float32, one process"
    words = [coding.get("rounding", "nearest")]
    if "num_bits" in coding:
        words.append(f"{coding['num_bits']} bit")
    words += [
        str(coding[name]) for name in ("scale", "granularity", "top_k_share") if name in coding
    ]
    return " ".join(words) + (", feedback" if coding.get("error_feedback", True) else "")


def _context(model: keras.Model, setting: Setting, seed: int) -> StepContext:
    ends = heads(model, None)
    file = DatasetFile(
        path=setting.mnist,
        format="npz",
        sha256="0" * 64,
        options=DatasetOptions.model_validate({"scale": 1 / 255}),
    )
    data = load_dataset(file, input_specs(model), [end.output for end in ends])
    return StepContext(
        seed=seed,
        data=data,
        tasks=read_tasks(ends, data),
        masks={},
        report_progress=_silent,
        check_cancelled=_never,
        baseline=model,
        load_model=OtherModels({}),
        scratch=setting.folder,
    )


def _silent(fraction: float, message: str, **metrics: float) -> None:
    """The table is all there is to see."""


def _never() -> None:
    """Nobody cancels a benchmark."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("network", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="+", default=range(len(CODINGS)))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--warmup-steps", type=int, default=200)
    given = parser.parse_args()
    named = ("epochs", "optimizer", "learning_rate", "warmup_steps")
    training = {name: getattr(given, name) for name in named}
    codings = [None, *(CODINGS[row] for row in given.rows)]
    columns = ("gradients", "error, %", "seeds", "bytes", "bits", "ratio", "entropy", "ms", "same")
    table = Table(*columns, title=f"{given.workers} workers, {given.epochs} epochs")
    network = keras.saving.load_model(given.network, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(given.mnist, network, Path(folder), given.workers, training)
        for row in rows_of(setting, codings, given.seeds):
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
