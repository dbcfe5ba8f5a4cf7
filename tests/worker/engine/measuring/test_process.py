"""Real measuring processes on real files."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.errors import Cancelled, MeasuringFailed
from tests.builders import never_cancelled, outputs_of, rows_for
from worker.engine.exporting.c_array import write_c_array
from worker.engine.exporting.onnx_file import convert_onnx
from worker.engine.exporting.source import KerasSource
from worker.engine.measuring.messages import FileToMeasure, Request
from worker.engine.measuring.process import FreshProcess

Asked = Callable[..., Request]


@pytest.fixture
def asked(conv_source: KerasSource, tmp_path: Path) -> Asked:
    """A request about `conv_model` files, on 70 rows: more than a batch, and not two."""
    rows = rows_for(conv_source.model, 70)["picture"]
    np.save(tmp_path / "picture.npy", rows)

    def request(*files: FileToMeasure, groups: tuple[tuple[int, ...], ...] = ()) -> Request:
        inputs = {"picture": str(tmp_path / "picture.npy")}
        return Request(files, inputs, ("logits",), groups, 1, 0.05, str(tmp_path))

    return request


def written(tmp_path: Path, files: dict[str, bytes], *variants: str) -> list[FileToMeasure]:
    paths = [tmp_path / f"{variant}.tflite" for variant in variants]
    for path, variant in zip(paths, variants, strict=True):
        path.write_bytes(files[variant])
    return [FileToMeasure("tflite", str(path)) for path in paths]


def test_measure_predicts_what_the_model_does(
    conv_source: KerasSource, conv_files: dict[str, bytes], asked: Asked, tmp_path: Path
) -> None:
    request = asked(*written(tmp_path, conv_files, "float32", "int8"))
    results = FreshProcess(tmp_path, needs_tensorflow=False).measure(request, never_cancelled)
    expected = outputs_of(conv_source.model, rows_for(conv_source.model, 70))[0]
    exact, rounded = (np.load(request.predictions_of(k)[0]) for k in range(2))
    assert [result.error for result in results] == [None, None]
    np.testing.assert_allclose(exact, expected, rtol=1e-4, atol=1e-5)
    assert 0 < np.abs(rounded - expected).max() < 0.2 * np.abs(expected).max()


def test_measure_gives_latency_and_memory_with_the_runtime_they_are_of(
    conv_files: dict[str, bytes], asked: Asked, tmp_path: Path
) -> None:
    request = asked(*written(tmp_path, conv_files, "float32", "int8"), groups=((0, 1),))
    results = FreshProcess(tmp_path, needs_tensorflow=False).measure(request, never_cancelled)
    for result in results:
        assert result.runtime.startswith("ai_edge_litert 2.")
        assert result.latency is not None
        assert 0 < result.latency.ms_p50 <= result.latency.ms_p95
        assert result.latency.runs >= 20
        assert result.peak_memory_bytes is not None
        assert 0 < result.peak_memory_bytes < 100e6


def test_measure_says_what_is_wrong_with_a_file_and_measures_the_others(
    conv_files: dict[str, bytes], asked: Asked, tmp_path: Path
) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"TFL3" * 100)
    bad = FileToMeasure("tflite", str(tmp_path / "bad.tflite"))
    request = asked(bad, *written(tmp_path, conv_files, "float32"), groups=((0, 1),))
    first, second = FreshProcess(tmp_path, needs_tensorflow=False).measure(request, never_cancelled)
    assert first.error
    assert first.latency is None
    assert second.error is None
    assert second.latency is not None


def test_measure_runs_onnx_files_and_c_arrays_each_on_its_runtime(
    conv_source: KerasSource, conv_files: dict[str, bytes], asked: Asked, tmp_path: Path
) -> None:
    onnx = tmp_path / "conv.onnx"
    onnx.write_bytes(convert_onnx(conv_source))
    (tmp_path / "bad.onnx").write_bytes(b"ONNX" * 100)
    write_c_array(conv_files["float32"], tmp_path / "conv.zip")
    request = asked(
        FileToMeasure("onnx", str(onnx)),
        FileToMeasure("onnx", str(tmp_path / "bad.onnx")),
        FileToMeasure("onnx", str(onnx)),
        FileToMeasure("c_array", str(tmp_path / "conv.zip")),
        groups=((0, 2),),
    )
    process = FreshProcess(tmp_path, needs_tensorflow=False)
    first, bad, again, c_array = process.measure(request, never_cancelled)
    expected = outputs_of(conv_source.model, rows_for(conv_source.model, 70))[0]
    for index in (0, 2, 3):
        given = np.load(request.predictions_of(index)[0])
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    assert first.runtime == again.runtime
    assert first.runtime.startswith("onnxruntime 1.")
    assert c_array.runtime.startswith("ai_edge_litert 2.")
    assert bad.error
    assert first.latency is not None
    assert again.latency is not None
    assert first.peak_memory_bytes is not None
    assert first.peak_memory_bytes < 100e6


def test_measure_leaves_no_process_behind_when_cancelled(
    conv_files: dict[str, bytes], asked: Asked, tmp_path: Path
) -> None:
    process = FreshProcess(tmp_path, needs_tensorflow=False)

    def cancelled() -> None:
        raise Cancelled("the test wants it")

    with pytest.raises(Cancelled):
        process.measure(asked(*written(tmp_path, conv_files, "float32")), cancelled)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_measure_raises_when_the_process_dies(
    conv_files: dict[str, bytes], asked: Asked, tmp_path: Path
) -> None:
    process = FreshProcess(tmp_path, needs_tensorflow=False)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(MeasuringFailed, match="exit status -9"):
        process.measure(asked(*written(tmp_path, conv_files, "float32")), never_cancelled)


def test_close_ends_a_process_that_was_never_asked(tmp_path: Path) -> None:
    process = FreshProcess(tmp_path, needs_tensorflow=False)
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
