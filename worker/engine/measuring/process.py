"""Starts measuring processes and waits for them, without leaving one behind."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import worker
from app.errors import MeasuringFailed
from app.processes import python_without_proc
from worker.engine.measuring.messages import FileResult, Request, read_results, write_request
from worker.engine.tied import TiedProcess

PROGRAM = (*python_without_proc(), "-m", "worker.engine.measuring.fresh")
POLL_S = 0.02
IMPORT_ROOT = Path(worker.__file__).parents[1]


class FreshProcess:
    """One process that measures one request. It may be started early to import TensorFlow.

    `scratch` gets its request, results and log.
    """

    def __init__(self, scratch: Path, *, needs_tensorflow: bool) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._scratch = scratch
        with (scratch / "log.txt").open("wb") as log:
            self._tied = TiedProcess(
                [*PROGRAM, *(["--tensorflow"] if needs_tensorflow else [])],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        self._process = self._tied.process

    @property
    def pid(self) -> int:
        """The process's id, also after its end."""
        return self._process.pid

    def measure(self, request: Request, check_cancelled: Callable[[], None]) -> list[FileResult]:
        """Hand over the request and wait.

        Raises: MeasuringFailed if the process ended without results; whatever `check_cancelled`
        raises, after the process is gone.
        """
        request_path, results_path = self._scratch / "request.json", self._scratch / "results.json"
        write_request(request, request_path)
        try:
            self._send(f"{request_path}\n{results_path}\n")
            while self._process.poll() is None:
                check_cancelled()
                time.sleep(POLL_S)
        finally:
            self.close()
        if self._process.returncode != 0 or not results_path.exists():
            raise MeasuringFailed(
                "the process that measures the files ended without results "
                f"(exit status {self._process.returncode})",
                hint="It may have run out of memory; a smaller test split needs less.",
            )
        return read_results(results_path)

    def close(self) -> None:
        """End the process if it still runs."""
        self._tied.end()

    def _send(self, text: str) -> None:
        assert self._process.stdin is not None, "started with a pipe"  # for mypy
        try:
            self._process.stdin.write(text.encode())
        except BrokenPipeError:
            # It died while starting; its exit status says so below.
            return


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(IMPORT_ROOT),
        # Threads of numpy's linear algebra would make a fork unsafe and count as memory.
        "OPENBLAS_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
    }
