"""An ONNX file in ONNX Runtime, on the CPU."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from worker.engine.measuring.messages import FileToMeasure, Request

Array = npt.NDArray[Any]
Rows = Mapping[str, Array]

BATCH = 64
# They share no parent but Exception itself.
REFUSALS = (
    errors.EPFail,
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NotImplemented,
    errors.RuntimeException,
)
ERRORS_ONLY = 3
# Some builds report to their maker; none of ours is to.
onnxruntime.disable_telemetry_events()


class OnnxRunner:
    """A session with a fixed number of threads for what is timed."""

    def __init__(self, file: FileToMeasure, request: Request) -> None:
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self._path = file.path
        self._names = tuple(request.inputs)
        self._outputs = request.outputs
        self._threads = request.threads

    def predict(self, rows: Rows) -> list[Array]:
        # Threads change how long predictions take, not what they are.
        session = _session(self._path, os.cpu_count() or 1)
        count = len(rows[self._names[0]])
        parts = [
            _run(session, self._outputs, self._given(rows, start, BATCH))
            for start in range(0, count, BATCH)
        ]
        return [np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True)]

    def prepared(self, row: Rows) -> Callable[[], object]:
        session = _session(self._path, self._threads)
        given = self._given(row, 0, 1)
        _run(session, self._outputs, given)
        binding = session.io_binding()
        for name, array in given.items():
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name)
        return partial(session.run_with_iobinding, binding)

    def _given(self, rows: Rows, start: int, size: int) -> dict[str, Array]:
        return {
            name: np.ascontiguousarray(rows[name][start : start + size]) for name in self._names
        }


def _session(path: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except REFUSALS as error:
        raise RuntimeError(str(error)) from error


def _run(session: Any, outputs: tuple[str, ...], given: dict[str, Array]) -> list[Array]:
    try:
        return session.run(list(outputs), given)
    except REFUSALS as error:
        raise RuntimeError(str(error)) from error
