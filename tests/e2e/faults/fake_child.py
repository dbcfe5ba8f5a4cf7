"""A child that speaks the worker's protocol without TensorFlow; the model's name says what to do.

`quick` is done at once, `slow` takes 30 s if nobody stops it, `steps-<seconds>` so long;
`crash` dies by a signal, `endless-memory` grows, `mute` closes its channel; `hostile_child` and
`hostile_tricks` have more.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.errors import Cancelled
from tests.e2e.faults.hostile_child import BEHAVIOURS
from tests.e2e.faults.hostile_tricks import TRICKS, result
from worker.engine.order import CANCEL, ORDER, RESULT, Event, Order


def main() -> None:
    channel, folder = int(sys.argv[1]), Path(sys.argv[2])

    def emit(event: Event) -> None:
        os.write(channel, event.as_line())

    emit(Event(event="ready"))
    if not sys.stdin.readline():
        return
    order = Order.model_validate_json((folder / ORDER).read_bytes())
    emit(Event(event="phase", phase="pretending", progress=0.1))
    behave(order.model.name, folder, emit)
    (folder / "out" / "file.tflite").write_bytes(order.job_id.encode())
    (folder / RESULT).write_text(result().model_dump_json())
    emit(Event(event="done"))


def behave(name: str, folder: Path, emit: Callable[[Event], None]) -> None:
    if hostile := (BEHAVIOURS | TRICKS).get(name):
        hostile(folder, emit)
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
        if (folder / CANCEL).exists():
            emit(Event(event="error", problem=Cancelled("stopped").as_problem()))
            os._exit(0)
        time.sleep(0.02)
        emit(Event(event="progress", progress=0.5, message="pretending"))
