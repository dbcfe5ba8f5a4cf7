"""Files that run: gzip size and latency of int8 tflite files, beside the best of other tools.

    python -m benchmarks.numbers.runnable mnist.npz nets

`nets` holds lenet300.keras and lenet5.keras, trained on MNIST / 255. Each goes as one job through
the running service: channels out, weights made few whole numbers, all of it put into int8. Size and
latency are those of the job's report; latency is taken in turns with the net's own float32 file, at
batch 1 on one thread. The allowances are half the bytes and 1.3 times the ratios of the best other
tools on the same nets (pruning, clustering and quantization-aware training of tfmot;
litert-quantizer), at no more than 0.5 points lost.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.client import Client
from app.recipes.facts import DatasetOptions
from app.reports.report import Measurement, Report
from benchmarks.common import bench, print_table
from benchmarks.structure.baselines import Digits

MOST_POINTS_LOST = 0.5
EPOCHS = 20


@dataclass(frozen=True)
class Rival:
    """A net, and what the best other tool made of it."""

    net: str
    gzip_bytes: int
    speedup: float

    @property
    def most_bytes(self) -> float:
        return 0.5 * self.gzip_bytes

    @property
    def least_speedup(self) -> float:
        return 1.3 * self.speedup


RIVALS = (Rival("lenet300", 22_684, 7.1), Rival("lenet5", 37_031, 2.5))


def recipe(seed: int, epochs: int) -> dict[str, Any]:
    """The recipe of `benchmarks.numbers.entropy`, shorter, and ended by int8."""
    return {
        "seed": seed,
        "steps": [
            {"technique": "channel_pruning", "pruning_ratio": 0.6, "importance": "taylor"},
            {
                "technique": "entropy_penalized_training",
                "rate_weight": 1.0,
                "epochs": epochs,
                "validation_fraction": 0.05,
            },
            {"technique": "full_integer_quantization", "calibration_samples": 500},
        ],
    }


def report_of(client: Client, model_id: str, dataset_id: str, asked: dict[str, Any]) -> Report:
    """Run one job to its end. Raises: SystemExit where it fails."""
    request = {"model_id": model_id, "dataset_id": dataset_id, "recipe": asked}
    job = client.wait(client.submit(request | {"outputs": ["tflite"]}).id)
    if job.state != "succeeded":
        raise SystemExit(f"job {job.id} is {job.state}: {job.error}")
    return client.report(job.id)


def rows_of(rival: Rival, report: Report) -> tuple[list[tuple[str, str, str]], bool]:
    """What the file came to, and whether that is what is allowed."""
    before, after = report.baseline, report.optimized
    assert before.accuracy is not None, "digits are labelled"
    assert after.accuracy is not None, "digits are labelled"
    lost = 100 * (before.accuracy - after.accuracy)
    speedup, size = report.delta.speedup or 0.0, after.compressed_size_bytes
    times = f"{_microseconds(before)} -> {_microseconds(after)} us"
    rows = [
        (f"{rival.net}: {after.format}, after gzip", f"{size:,} B", f"{rival.most_bytes:,.0f} B"),
        (f"{rival.net}: times faster", f"{speedup:.1f} ({times})", f"{rival.least_speedup:.1f}"),
        (f"{rival.net}: points lost", f"{lost:+.2f}", f"at most {MOST_POINTS_LOST:g}"),
    ]
    holds = size <= rival.most_bytes and speedup >= rival.least_speedup
    return rows, holds and lost <= MOST_POINTS_LOST


def _microseconds(measurement: Measurement) -> str:
    return f"{1000 * (measurement.latency_ms_p50 or 0):.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("nets", type=Path, help="folder of lenet300.keras and lenet5.keras")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--choose", action="store_true", help="judge by training digits")
    arguments = parser.parse_args()
    table: list[tuple[str, str, str]] = []
    all_hold = True
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder, bench() as service:
        digits = Digits.of(arguments.mnist)
        file = digits.write(Path(folder) / "digits.npz", choosing=arguments.choose)
        data = service.client.upload_dataset(file, options=DatasetOptions(scale=1 / 255))
        for rival in RIVALS:
            model = service.client.upload_model(arguments.nets / f"{rival.net}.keras")
            asked = recipe(arguments.seed, arguments.epochs)
            rows, holds = rows_of(rival, report_of(service.client, model.id, data.id, asked))
            table += rows
            all_hold &= holds
    print_table("Int8 files that run, beside the best of other tools", table)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
