"""What the engine asks of a measuring process, and what comes back; plain data as JSON.

Standard library only: the measuring process starts in a fraction of a second because of it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

# Kinds of files, and what runs them: no two runtimes should be in one process.
Kind = Literal["keras", "tflite", "saved_model", "onnx", "c_array", "packed"]
Host = Literal["tensorflow", "onnxruntime", "litert"]
HOSTS: dict[Kind, Host] = {
    "keras": "tensorflow",
    "saved_model": "tensorflow",
    "onnx": "onnxruntime",
    "tflite": "litert",
    "c_array": "litert",
    "packed": "tensorflow",
}


@dataclass(frozen=True)
class FileToMeasure:
    """One file. A SavedModel is given as its unpacked folder."""

    kind: Kind
    path: str


@dataclass(frozen=True)
class Request:
    """Files to reload, rows to predict, and which files to time against each other.

    `inputs`: name -> .npy file of all rows, [rows, ...]; `outputs`: names. Both are the names the
    files know them by, in the model's order. `groups`: indices of files timed together,
    interleaved, each for `seconds`. Predictions go to `<folder>/<file index>.<output index>.npy`.
    """

    files: tuple[FileToMeasure, ...]
    inputs: dict[str, str]
    outputs: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    threads: int
    seconds: float
    folder: str

    def predictions_of(self, file_index: int) -> list[Path]:
        """Where one file's predictions are, an array an output."""
        return [Path(self.folder) / f"{file_index}.{k}.npy" for k in range(len(self.outputs))]


@dataclass(frozen=True)
class Latency:
    """Wall time of one call with one sample, after warm-up."""

    ms_p50: float
    ms_p95: float
    ms_iqr: float
    runs: int


@dataclass(frozen=True)
class FileResult:
    """One file's figures; `error` says in words why there are none."""

    error: str | None
    runtime: str
    latency: Latency | None
    peak_memory_bytes: int | None


def write_request(request: Request, path: Path) -> None:
    path.write_text(json.dumps(asdict(request)))


def read_request(path: Path) -> Request:
    given: dict[str, Any] = json.loads(path.read_text())
    return Request(
        files=tuple(FileToMeasure(**file) for file in given["files"]),
        inputs=given["inputs"],
        outputs=tuple(given["outputs"]),
        groups=tuple(tuple(group) for group in given["groups"]),
        threads=given["threads"],
        seconds=given["seconds"],
        folder=given["folder"],
    )


def write_results(results: list[FileResult], path: Path) -> None:
    path.write_text(json.dumps([asdict(result) for result in results]))


def read_results(path: Path) -> list[FileResult]:
    return [
        FileResult(
            **{**given, "latency": Latency(**given["latency"]) if given["latency"] else None}
        )
        for given in json.loads(path.read_text())
    ]
