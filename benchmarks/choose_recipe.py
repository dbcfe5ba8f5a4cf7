"""How the settings of the examples were chosen: on training digits kept aside, never on test.

The candidates differ in sparsity and learning rate. Each trains on some of MNIST's training digits
through the real service and is judged on others of them. The sparsest one is chosen that is within
`TOLERANCE` of the most accurate one; of equally sparse ones, the most accurate.

    python -m benchmarks.choose_recipe mnist.npz            (for examples/recipes/lenet5.json)
    python -m benchmarks.choose_recipe mnist.npz --full     (for benchmarks/lenet5_mnist.py)
"""

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from app.client import Client
from app.recipes.facts import DatasetOptions
from app.reports.report import Report
from benchmarks.common import EXAMPLES, bench

SPARSITIES = (0.9, 0.93, 0.95, 0.97)
LEARNING_RATES = (0.001, 0.002)
# What the figures allow a recipe to lose: 0.2 points.
TOLERANCE = 0.002
SEED = 7
KEPT_ASIDE = 5_000
SHARE = EXAMPLES / "mnist_share.npz"


def write_split(mnist: Path, target: Path, *, full: bool) -> None:
    """Training digits in two parts: to train on, and to choose on in place of a test split."""
    with np.load(mnist) as digits:
        images, labels = digits["x_train"], digits["y_train"]
    rng = np.random.default_rng(SEED)
    if full:
        order = rng.permutation(len(images))
        kept_aside, trained = order[:KEPT_ASIDE], order[KEPT_ASIDE:]
        x_train, y_train = images[trained], labels[trained]
    else:
        with np.load(SHARE) as share:
            x_train, y_train = share["x_train"], share["y_train"]
        in_share = {image.tobytes() for image in x_train}
        others = [row for row, image in enumerate(images) if image.tobytes() not in in_share]
        kept_aside = rng.choice(others, KEPT_ASIDE, replace=False)
    np.savez(
        target,
        x_train=x_train,
        y_train=y_train,
        x_test=images[kept_aside],
        y_test=labels[kept_aside],
    )


def candidate(sparsity: float, learning_rate: float, epochs: int | None) -> dict[str, Any]:
    """The example's job with other numbers, and nothing measured that is not looked at."""
    job: dict[str, Any] = json.loads((EXAMPLES / "recipes" / "lenet5.json").read_text())
    pruning = job["recipe"]["steps"][0]
    pruning["sparsity"] = sparsity
    pruning["recovery"]["learning_rate"] = learning_rate
    if epochs is not None:
        pruning["recovery"]["epochs"] = epochs
    return job | {"control": False, "constraints": {}, "outputs": ["tflite"]}


def report_of(client: Client, job: dict[str, Any]) -> Report:
    done = client.wait(client.submit(job).id)
    if done.state != "succeeded":
        raise SystemExit(f"job {done.id} is {done.state}: {done.error}")
    return client.report(done.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--full", action="store_true", help="train on 55,000 digits")
    parser.add_argument("--epochs", type=int, help="other than the example's")
    arguments = parser.parse_args()
    table = Table("sparsity", "learning rate", "accuracy", "times smaller (gzip)")
    found: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder, bench() as service:
        split = Path(folder) / "split.npz"
        write_split(arguments.mnist, split, full=arguments.full)
        options = DatasetOptions.model_validate({"scale": 1 / 255})
        dataset = service.client.upload_dataset(split, options=options)
        model = service.client.upload_model(EXAMPLES / "lenet5.keras")
        ids = {"model_id": model.id, "dataset_id": dataset.id}
        for sparsity, learning_rate in product(SPARSITIES, LEARNING_RATES):
            job = candidate(sparsity, learning_rate, arguments.epochs) | ids
            report = report_of(service.client, job)
            accuracy = report.optimized.accuracy or 0.0
            found.append((accuracy, sparsity, learning_rate))
            ratio = f"{report.delta.compression_ratio:.1f}"
            table.add_row(f"{sparsity:g}", f"{learning_rate:g}", f"{accuracy:.2%}", ratio)
    Console().print(table)
    least = max(accuracy for accuracy, _, _ in found) - TOLERANCE
    _, sparsity, learning_rate = max(
        (entry for entry in found if entry[0] >= least), key=lambda entry: (entry[1], entry[0])
    )
    print(f"chosen: sparsity {sparsity:g}, learning rate {learning_rate:g}")


if __name__ == "__main__":
    main()
