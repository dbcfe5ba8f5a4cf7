"""A process of its own that reloads files and measures them; it dies with the one that started it.

    python -m worker.engine.measuring.fresh [--tensorflow]

It reads two lines from its standard input, the path of the request and the path for the results.
With only tflite or ONNX files it imports neither TensorFlow nor Keras; `--tensorflow` imports them
before the request is there.
"""

import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from app.processes import die_with_parent
from worker.engine.foreign import first_line
from worker.engine.measuring.latency import interleaved
from worker.engine.measuring.memory import Died, growth_bytes, growth_bytes_apart
from worker.engine.measuring.messages import (
    HOSTS,
    FileResult,
    FileToMeasure,
    Latency,
    Request,
    read_request,
    write_results,
)
from worker.engine.measuring.runners import Rows, Runner, import_runtime, load


def main(arguments: list[str]) -> None:
    # A parent gone before this line has closed the standard input, which ends the process too.
    die_with_parent(os.getppid(), signal.SIGKILL)
    go_on_in_a_fork()
    if "--tensorflow" in arguments:
        import_runtime("keras")
    request, results = sys.stdin.readline().strip(), sys.stdin.readline().strip()
    if request and results:
        write_results(measure(read_request(Path(request))), Path(results))


def go_on_in_a_fork() -> None:
    """Only a forked process knows its own peak of memory (`growth_bytes`); this one waits for it.

    Called before there are threads.
    """
    outer = os.getpid()
    inner = os.fork()
    if inner == 0:
        die_with_parent(outer, signal.SIGKILL)
        return
    _, status = os.waitpid(inner, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def measure(request: Request) -> list[FileResult]:
    """Reload, try, predict and time every file of the request."""
    rows: Rows = {name: np.load(path, mmap_mode="r") for name, path in request.inputs.items()}
    tried = [_tried(request, index, rows) for index in range(len(request.files))]
    latencies: dict[int, Latency] = {}
    for group in request.groups:
        usable = [index for index in group if tried[index].runner]
        calls = [runner.prepared(_first(rows)) for i in usable if (runner := tried[i].runner)]
        seconds = request.seconds * len(calls)
        latencies.update(zip(usable, interleaved(calls, seconds), strict=True))
    return [
        FileResult(
            error=one.error,
            runtime=one.runner.runtime if one.runner else "",
            latency=latencies.get(index),
            peak_memory_bytes=one.peak_memory_bytes,
        )
        for index, one in enumerate(tried)
    ]


@dataclass(frozen=True)
class _Tried:
    """A file after its predictions were written, or why they could not be."""

    runner: Runner | None
    peak_memory_bytes: int | None
    error: str | None


def _tried(request: Request, index: int, rows: Rows) -> _Tried:
    file = request.files[index]
    try:
        import_runtime(file.kind)
        measured = _measured_here if HOSTS[file.kind] == "tensorflow" else _measured_apart
        runner, peak = measured(file, request, rows)
        predictions = runner.predict(rows)
        for path, array in zip(request.predictions_of(index), predictions, strict=True):
            np.save(path, array)
    except (Died, RuntimeError, ValueError, TypeError, OSError) as error:
        return _Tried(None, None, first_line(error))
    return _Tried(runner, peak, None)


def _measured_apart(file: FileToMeasure, request: Request, rows: Rows) -> tuple[Runner, int | None]:
    """In a fork first, so that a file that crashes the runtime is only refused."""
    peak = growth_bytes_apart(partial(_load_and_run, file, request, rows))
    return load(file, request), peak


def _measured_here(file: FileToMeasure, request: Request, rows: Rows) -> tuple[Runner, int | None]:
    """For TensorFlow, which a fork would hang; its first file bears what it sets up for itself."""
    loaded: list[Runner] = []
    peak = growth_bytes(lambda: loaded.append(_load_and_run(file, request, rows)))
    return loaded[0], peak


def _load_and_run(file: FileToMeasure, request: Request, rows: Rows) -> Runner:
    runner = load(file, request)
    runner.prepared(_first(rows))()
    return runner


def _first(rows: Rows) -> Rows:
    return {name: array[:1] for name, array in rows.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
