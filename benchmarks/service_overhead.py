"""What the service adds to the work: a job beside the same steps in a plain script.

The plain script is a fresh process that calls the engine on the same files and writes the same
outputs; its import of TensorFlow is not counted, as the service's warm spare has it behind itself.
Jobs and scripts are run in turns.

    python -m benchmarks.service_overhead
"""

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from app.client import Client
from app.jobs.views import JobView
from app.recipes.constraints import Constraints
from app.recipes.facts import DatasetOptions, ModelFormat
from app.recipes.outputs import OutputKind
from app.recipes.recipe import Recipe
from benchmarks.common import EXAMPLES, Bench, bench, print_table
from worker.engine.order import INPUTS, ORDER, SCRATCH, DatasetFile, ModelFile, Order
from worker.engine.order import OUTPUTS as OUT

ROUNDS = 3
MODEL = EXAMPLES / "lenet5.keras"
DATA = EXAMPLES / "mnist_share.npz"
OPTIONS = DatasetOptions(scale=1 / 255)
OUTPUTS: tuple[OutputKind, ...] = ("keras", "tflite")
RECIPE: dict[str, Any] = {
    "seed": 7,
    "steps": [
        {"technique": "magnitude_pruning", "sparsity": 0.9, "recovery": {"epochs": 2}},
        {"technique": "full_integer_quantization"},
    ],
}
WARM_UP_S = 30.0
PROGRAM = """
import sys, time
from pathlib import Path
from worker.engine.order import ORDER, Order
from worker.engine.run import run
folder = Path(sys.argv[1])
order = Order.model_validate_json((folder / ORDER).read_text())
started = time.perf_counter()
run(order, folder, lambda event: None)
print(time.perf_counter() - started)
"""


def order() -> Order:
    return Order(
        job_id="plain",
        model=ModelFile(path=MODEL, format=ModelFormat.KERAS, name="lenet5", sha256=sha256(MODEL)),
        dataset=DatasetFile(path=DATA, format="npz", sha256=sha256(DATA), options=OPTIONS),
        recipe=Recipe.model_validate(RECIPE),
        outputs=OUTPUTS,
        constraints=Constraints(),
        control=False,
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain_script() -> float:
    """Seconds of the engine's work in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="penjing-") as name:
        folder = Path(name)
        for part in (INPUTS, OUT, SCRATCH):
            (folder / part).mkdir()
        (folder / ORDER).write_text(order().model_dump_json())
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, check=True
        )
    return float(answer.stdout.split()[-1])


def job(client: Client, request: dict[str, Any]) -> tuple[float, float]:
    """(seconds from submit to end, seconds from submit to the engine's first word)."""
    done = client.wait(client.submit(request).id)
    if done.state != "succeeded" or done.finished_at is None:
        raise SystemExit(f"job {done.id} is {done.state}: {done.error}")
    return elapsed_s(done, done.finished_at), elapsed_s(done, first_step(client, done))


def first_step(client: Client, done: JobView) -> datetime:
    return next(event.at for event in client.events(done.id) if event.type == "phase")


def elapsed_s(done: JobView, at: datetime) -> float:
    return (at - done.created_at).total_seconds()


def measure(service: Bench) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each (plain script, job, submit to first step)."""
    client = service.client
    request = {
        "model_id": client.upload_model(MODEL).id,
        "dataset_id": client.upload_dataset(DATA, options=OPTIONS).id,
        "recipe": RECIPE,
        "outputs": OUTPUTS,
    }
    scripts, jobs, starts = [], [], []
    for _ in range(ROUNDS):
        scripts.append(plain_script())
        time.sleep(WARM_UP_S)  # the next spare gets its TensorFlow behind itself
        whole_s, start_s = job(client, request)
        jobs.append(whole_s)
        starts.append(start_s)
    return scripts, jobs, starts


def main() -> None:
    with bench() as service:
        scripts, jobs, starts = measure(service)
    script_s, job_s = statistics.median(scripts), statistics.median(jobs)
    print_table(
        f"LeNet-5 on the MNIST share, pruned and int8, median of {ROUNDS}",
        [
            ("plain script", f"{script_s:.1f} s", ""),
            ("job, submit to end", f"{job_s:.1f} s", f"{1.10 * script_s + 1:.1f} s"),
            ("submit to first step", f"{statistics.median(starts):.2f} s", "0.5 s"),
        ],
    )


if __name__ == "__main__":
    main()
