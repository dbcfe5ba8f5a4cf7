"""LeNet-5 on all of MNIST, pruned and quantized to int8 through the real stack, and recomputed.

The second half trusts nothing of the service: it takes the two downloaded `.tflite` files, executes
them with ai_edge_litert and numpy alone, and compares what it finds with the report.

    python -m benchmarks.lenet5_mnist mnist.npz      (or the path in MNIST)
"""

import argparse
import gzip
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.client import Client
from app.jobs.views import JobView
from app.recipes.facts import DatasetOptions
from app.reports.report import Measurement, Report
from benchmarks.common import EXAMPLES, bench, print_table

SCALE = 1 / 255
# As `benchmarks.choose_recipe --full` chose them, without the test split.
RECIPE: dict[str, Any] = {
    "seed": 7,
    "steps": [
        {
            "technique": "magnitude_pruning",
            "sparsity": 0.95,
            "scope": "global",
            "schedule": "polynomial",
            "exclude": ["logits"],
            "recovery": {"epochs": 6, "learning_rate": 0.001, "batch_size": 64},
        },
        {"technique": "full_integer_quantization", "calibration_samples": 200},
    ],
}
# Removes nothing from a net without batch normalization: its `.tflite` is the baseline's.
NOTHING: dict[str, Any] = {"steps": [{"technique": "batch_norm_folding"}]}


@dataclass(frozen=True)
class Recomputed:
    """What a file is without the service's word for it."""

    accuracy: float
    size_bytes: int
    compressed_size_bytes: int

    @classmethod
    def of(cls, file: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> "Recomputed":
        content = file.read_bytes()
        right = predictions(file, images) == labels
        return cls(float(right.mean()), len(content), len(gzip.compress(content, 9, mtime=0)))

    def agrees_with(self, reported: Measurement) -> bool:
        return reported.accuracy is not None and (
            abs(self.accuracy - reported.accuracy) < 1e-12
            and self.size_bytes == reported.size_bytes
            and self.compressed_size_bytes == reported.compressed_size_bytes
        )


def predictions(file: Path, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[rows, 28, 28] -> class of each row, one row at a time."""
    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    classes = np.empty(len(images), np.int64)
    for row, image in enumerate(images):
        value = (image * np.float32(SCALE)).reshape(taken["shape"])
        interpreter.set_tensor(taken["index"], value)
        interpreter.invoke()
        classes[row] = interpreter.get_tensor(given["index"]).argmax()
    return classes


def finished(client: Client, request: dict[str, Any]) -> JobView:
    job = client.wait(client.submit(request).id)
    if job.state != "succeeded":
        raise SystemExit(f"job {job.id} is {job.state}: {job.error}")
    return job


def tflite_of(client: Client, job: JobView, folder: Path) -> Path:
    (artifact,) = [artifact for artifact in client.artifacts(job.id) if artifact.kind == "tflite"]
    return client.download(artifact, folder / job.id)


def run(client: Client, mnist: Path, folder: Path) -> tuple[Report, Path, Path]:
    """(report, baseline file, optimized file)."""
    model = client.upload_model(EXAMPLES / "lenet5.keras")
    data = client.upload_dataset(mnist, options=DatasetOptions(scale=SCALE))
    common = {"model_id": model.id, "dataset_id": data.id, "outputs": ["tflite"]}
    untouched = finished(client, {**common, "recipe": NOTHING})
    optimized = finished(client, {**common, "recipe": RECIPE})
    return (
        client.report(optimized.id),
        tflite_of(client, untouched, folder),
        tflite_of(client, optimized, folder),
    )


def show(report: Report, baseline: Recomputed, optimized: Recomputed) -> bool:
    """Print the figures; True if they hold and the report's equal the recomputed ones."""
    ratio = baseline.compressed_size_bytes / optimized.compressed_size_bytes
    drop = baseline.accuracy - optimized.accuracy
    agree = baseline.agrees_with(report.baseline) and optimized.agrees_with(report.optimized)
    sizes = f"{baseline.compressed_size_bytes:,} B -> {optimized.compressed_size_bytes:,} B"
    print_table(
        "LeNet-5 on all of MNIST, recomputed from the downloaded files",
        [
            ("size after gzip", sizes, ""),
            ("times smaller", f"{ratio:.1f}", "at least 25"),
            ("accuracy", f"{baseline.accuracy:.2%} -> {optimized.accuracy:.2%}", ""),
            ("points lost", f"{100 * drop:.2f}", "0.2"),
            ("speed-up (the report's)", f"{report.delta.speedup or 0:.2f}", ""),
            ("report equals recomputation", "yes" if agree else "NO", "yes"),
        ],
    )
    return agree and ratio >= 25 and drop <= 0.002


def main() -> int:
    parser = argparse.ArgumentParser(description="LeNet-5 on all of MNIST, pruned and int8.")
    parser.add_argument("mnist", type=Path, nargs="?", default=os.environ.get("MNIST"))
    mnist: Path | None = parser.parse_args().mnist
    if mnist is None:
        parser.error("name MNIST as keras.datasets.mnist delivers it: x_train y_train x_test ...")
    with np.load(mnist) as arrays:
        images, labels = arrays["x_test"], arrays["y_test"].astype(np.int64)
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder, bench() as service:
        report, *files = run(service.client, Path(mnist), Path(folder))
        baseline, optimized = (Recomputed.of(file, images, labels) for file in files)
    return 0 if show(report, baseline, optimized) else 1


if __name__ == "__main__":
    sys.exit(main())
