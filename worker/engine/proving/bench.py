"""Measures exported files in fresh processes, one for each runtime.

They run one after the other, so that none disturbs another's latencies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worker.engine.exporting.files import ExportedFile
from worker.engine.exports import Exports
from worker.engine.loading.splits import Array
from worker.engine.measuring.messages import HOSTS, FileResult, FileToMeasure, Host, Request
from worker.engine.measuring.process import FreshProcess
from worker.engine.subject import Subject

THREADS = 1
SECONDS_OF_LATENCY = 0.6
BATCH = 1024


@dataclass(frozen=True)
class Measured:
    """One file's figures and its outputs for every measured row; none where it failed."""

    file: ExportedFile
    result: FileResult
    outputs: list[Array]


@dataclass(frozen=True)
class Names:
    """What inputs and outputs are called in exported files, in the model's order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Bench:
    """Where the files of one job are measured."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._tensorflow: FreshProcess | None = None

    def prepare(self, exports: Exports) -> None:
        """Have a process import TensorFlow, if it will be needed, while something else goes on."""
        if exports.need_tensorflow and self._tensorflow is None:
            self._tensorflow = self._start("tensorflow")

    def measure(
        self,
        files: Sequence[ExportedFile],
        pair: tuple[ExportedFile, ExportedFile],
        subject: Subject,
        names: Names,
        check_cancelled: Callable[[], None],
    ) -> list[Measured]:
        """Reload and run all `files`; those of `pair` are timed against each other.

        Raises: MeasuringFailed if a measuring process ended; Cancelled.
        """
        inputs = self._write_rows(subject, names)
        measured: list[Measured] = []
        for host in dict.fromkeys(HOSTS.values()):
            own = [file for file in files if HOSTS[file.kind] == host]
            if not own:
                continue
            process = self._process(host)
            request = _request(own, pair, inputs, names, self.scratch / host)
            results = process.measure(request, check_cancelled)
            measured += [
                Measured(file, result, _predictions(request, index) if not result.error else [])
                for index, (file, result) in enumerate(zip(own, results, strict=True))
            ]
        order = {id(file): index for index, file in enumerate(files)}
        return sorted(measured, key=lambda one: order[id(one.file)])

    def close(self) -> None:
        """End what was started and not used."""
        if self._tensorflow:
            self._tensorflow.close()

    def _process(self, host: Host) -> FreshProcess:
        if host != "tensorflow" or self._tensorflow is None:
            return self._start(host)
        waiting, self._tensorflow = self._tensorflow, None
        return waiting

    def _start(self, host: Host) -> FreshProcess:
        return FreshProcess(self.scratch / host, needs_tensorflow=host == "tensorflow")

    def _write_rows(self, subject: Subject, names: Names) -> dict[str, str]:
        paths = {name: self.scratch / f"input_{k}.npy" for k, name in enumerate(names.inputs)}
        batches = subject.measured_batches(BATCH)
        targets: list[Array] = []
        start = 0
        for batch in batches:
            arrays = list(batch.values())
            if not targets:
                targets = [
                    _open(path, (subject.measured_count, *array.shape[1:]), array.dtype)
                    for path, array in zip(paths.values(), arrays, strict=True)
                ]
            for target, array in zip(targets, arrays, strict=True):
                target[start : start + len(array)] = array
            start += len(arrays[0])
        return {name: str(path) for name, path in paths.items()}


def _open(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _request(
    files: Sequence[ExportedFile],
    pair: tuple[ExportedFile, ExportedFile],
    inputs: dict[str, str],
    names: Names,
    folder: Path,
) -> Request:
    paired = tuple(k for k, file in enumerate(files) if any(file is one for one in pair))
    alone = tuple((k,) for k in range(len(files)) if k not in paired)
    return Request(
        files=tuple(FileToMeasure(file.kind, str(file.loadable)) for file in files),
        inputs=inputs,
        outputs=names.outputs,
        groups=(*((paired,) if paired else ()), *alone),
        threads=THREADS,
        seconds=SECONDS_OF_LATENCY,
        folder=str(folder),
    )


def _predictions(request: Request, index: int) -> list[Array]:
    return [np.load(path) for path in request.predictions_of(index)]
