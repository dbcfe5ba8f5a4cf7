"""One loaded file on its own runtime: predict many rows, or time one.

TensorFlow is imported only where a `.keras` or SavedModel file is loaded, ONNX Runtime only where
an ONNX file is.
"""

import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from worker.engine.exporting.c_array import read_c_array
from worker.engine.measuring.messages import HOSTS, FileToMeasure, Kind, Request

Array = npt.NDArray[Any]
Rows = Mapping[str, Array]

BATCH = 64


class Runner(Protocol):
    """A loaded file."""

    runtime: str

    def predict(self, rows: Rows) -> list[Array]:
        """Real-valued outputs for all rows, [rows, ...] each."""

    def prepared(self, row: Rows) -> Callable[[], object]:
        """A call that runs the file once on this one row, [1, ...], already in place."""


def import_runtime(kind: Kind) -> None:
    """Import what runs this kind, so that it does not count as memory that a file takes."""
    if HOSTS[kind] == "tensorflow":
        import worker.engine.measuring.tensorflow_runner
    elif HOSTS[kind] == "onnxruntime":
        import worker.engine.measuring.onnx_runner  # noqa: F401  # to have it done early


def load(file: FileToMeasure, request: Request) -> Runner:
    if file.kind == "tflite":
        return TfliteRunner({"model_path": file.path}, request)
    if file.kind == "c_array":
        return TfliteRunner({"model_content": read_c_array(Path(file.path))}, request)
    # Imported where they are used: they take seconds and most files need neither.
    if file.kind == "onnx":
        from worker.engine.measuring.onnx_runner import OnnxRunner

        return OnnxRunner(file, request)
    from worker.engine.measuring.tensorflow_runner import TensorflowRunner, use_threads

    use_threads(request.threads)
    return TensorflowRunner(file, request)


class TfliteRunner:
    """A tflite file on LiteRT's interpreter, with its default delegate (XNNPACK)."""

    def __init__(self, given: Mapping[str, str | bytes], request: Request) -> None:
        self.runtime = f"ai_edge_litert {version('ai-edge-litert')}"
        self._given = given
        self._inputs = tuple(request.inputs)
        self._outputs = request.outputs
        self._threads = request.threads

    def predict(self, rows: Rows) -> list[Array]:
        # Threads change how long predictions take, not what they are.
        loaded = _Loaded(self._given, self._inputs, self._outputs, os.cpu_count() or 1)
        count = len(next(iter(rows.values())))
        size = min(BATCH, count) if loaded.has_open_batch else 1
        parts = [
            loaded.run({name: array[start : start + size] for name, array in rows.items()})
            for start in range(0, count, size)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def prepared(self, row: Rows) -> Callable[[], object]:
        loaded = _Loaded(self._given, self._inputs, self._outputs, self._threads)
        loaded.run(row)
        invoke: Callable[[], object] = loaded.interpreter.invoke
        return invoke


class _Loaded:
    """An interpreter whose inputs and outputs are known by the model's names.

    `given` is the file, as the interpreter's own parameter for a path or for the content.
    """

    def __init__(
        self,
        given: Mapping[str, str | bytes],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        threads: int,
    ) -> None:
        self.interpreter: Any = Interpreter(**given, num_threads=threads)
        self.interpreter.allocate_tensors()
        runner = self._signature()
        given = runner.get_input_details() if runner else {}
        returned = runner.get_output_details() if runner else {}
        self._inputs = _by_name(inputs, given, self.interpreter.get_input_details())
        self._outputs = _by_name(outputs, returned, self.interpreter.get_output_details())

    @property
    def has_open_batch(self) -> bool:
        return all(
            len(detail["shape_signature"]) > 0 and detail["shape_signature"][0] == -1
            for detail in self._inputs.values()
        )

    def run(self, rows: Rows) -> list[Array]:
        """Real-valued outputs of one invocation, in the model's order."""
        self._fit_batch(len(next(iter(rows.values()))))
        for name, detail in self._inputs.items():
            self.interpreter.set_tensor(detail["index"], quantized(rows[name], detail))
        self.interpreter.invoke()
        return [
            dequantized(self.interpreter.get_tensor(detail["index"]), detail)
            for detail in self._outputs.values()
        ]

    def _signature(self) -> Any:
        key = next(iter(self.interpreter.get_signature_list()), None)
        return self.interpreter.get_signature_runner(key) if key else None

    def _fit_batch(self, size: int) -> None:
        if not self.has_open_batch:
            return
        for name, detail in self._inputs.items():
            if detail["shape"][0] != size:
                shape = [size, *(int(length) for length in detail["shape"][1:])]
                self.interpreter.resize_tensor_input(detail["index"], shape)
                self._inputs[name] = {**detail, "shape": shape}
        self.interpreter.allocate_tensors()


def quantized(values: Array, detail: Mapping[str, Any]) -> Array:
    """Real values as the tensor stores them: `quantized = round(real / scale) + zero_point`."""
    dtype = np.dtype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    if dtype.kind == "f" or scale == 0:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantized(stored: Array, detail: Mapping[str, Any]) -> Array:
    """What a tensor stands for: `real = scale * (quantized - zero_point)`."""
    scale, zero_point = detail["quantization"]
    if scale == 0:
        return stored.astype(np.float32)
    return (np.float32(scale) * (stored.astype(np.float32) - zero_point)).astype(np.float32)


def _by_name(
    names: tuple[str, ...], signature: Mapping[str, Any], details: list[Any]
) -> dict[str, Any]:
    """Tensors by the model's names: a file orders them as it likes, its signature names them."""
    if set(names) <= set(signature):
        return {name: signature[name] for name in names}
    if len(names) != len(details):
        raise ValueError(f"the file has {len(details)} ports; expected {', '.join(names)}")
    return dict(zip(names, details, strict=True))
