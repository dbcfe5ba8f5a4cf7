"""A child that speaks the worker's protocol without TensorFlow; the model's name says what to do.

`quick` is done at once, `slow` takes 30 s if nobody stops it, `steps-<seconds>` so long;
`crash` dies by a signal, `endless-memory` grows, `mute` closes its channel.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.errors import Cancelled
from app.processes import die_with_parent
from app.reports.report import Verdict
from tests.e2e.faults.reports import empty_report
from worker.engine.order import Artifact, Event, Order, Result


def main() -> None:
    channel, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent, signal.SIGKILL)

    def emit(event: Event) -> None:
        os.write(channel, event.as_line())

    emit(Event(event="ready"))
    line = sys.stdin.readline()
    if not line:
        return
    folder = Path(json.loads(line)["folder"])
    order = Order.model_validate_json((folder / "order.json").read_bytes())
    emit(Event(event="phase", phase="pretending", progress=0.1))
    note(order.job_id)
    behave(order.model.name, folder, emit)
    (folder / "out" / "file.tflite").write_bytes(order.job_id.encode())
    (folder / "result.json").write_text(result().model_dump_json())
    emit(Event(event="done"))


def note(job_id: str) -> None:
    """One line for every run, so that a test can count them."""
    # The environment of a child is scrubbed; its home is the folder of its worker,
    # two levels below PENJING_HOME.
    with (Path(os.environ["HOME"]).parents[1] / "runs.txt").open("a") as file:
        file.write(f"{job_id}\n")


def behave(name: str, folder: Path, emit: Callable[[Event], None]) -> None:
    if name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "mute":
        os._exit(7)
    if name == "endless-memory":
        held = []
        while True:
            held.append(b"x" * (16 << 20))
            time.sleep(0.02)
    seconds = {"quick": 0.0, "slow": 30.0}.get(name, 0.0)
    if name.startswith("steps-"):
        seconds = float(name.removeprefix("steps-"))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (folder / "cancel").exists():
            emit(Event(event="error", problem=Cancelled("stopped").as_problem()))
            os._exit(0)
        time.sleep(0.02)
        emit(Event(event="progress", progress=0.5, message="pretending"))


def result() -> Result:
    return Result(
        report=empty_report(),
        layers=(),
        verdict=Verdict.MET,
        artifacts=(
            Artifact(
                kind="tflite", format="tflite", path=Path("out/file.tflite"), filename="m.tflite"
            ),
        ),
    )
