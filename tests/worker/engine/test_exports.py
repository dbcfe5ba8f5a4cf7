"""Which kinds of files a job offers, and under which names."""

from pathlib import Path

import keras
import pytest

from app.errors import ExportFailed
from tests.builders import step
from worker.engine.exporting.files import ExportedFile
from worker.engine.exporting.source import KerasSource
from worker.engine.exports import Exports, artifact_of


@pytest.fixture
def open_source(tmp_path: Path) -> KerasSource:
    """A model whose length is open, with no data to fix it: no tflite file can be written."""
    model = keras.Sequential(
        [
            keras.Input((None, 3), name="sequence"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, name="out"),
        ]
    )
    return KerasSource(model, tmp_path / "source", {})


def test_exports_compare_the_kind_that_runs_fastest(
    conv_source: KerasSource, tmp_path: Path
) -> None:
    exports = Exports.asked_for(("saved_model", "tflite"))
    assert exports.write_baseline(conv_source, tmp_path, None).kind == "tflite"


def test_exports_fall_back_with_a_warning_when_a_kind_cannot_be_written(
    open_source: KerasSource, tmp_path: Path
) -> None:
    exports = Exports.asked_for(("tflite", "saved_model"))
    assert exports.write_baseline(open_source, tmp_path, None).kind == "saved_model"
    assert len(exports.warnings) == 1
    assert exports.warnings[0].startswith("No tflite file is offered: input 'sequence'")


def test_exports_fail_when_a_conversion_is_to_come(
    open_source: KerasSource, tmp_path: Path
) -> None:
    exports = Exports.asked_for(("tflite", "saved_model"))
    with pytest.raises(ExportFailed, match="leaves a length open"):
        exports.write_baseline(open_source, tmp_path, step("float16_quantization"))


def test_exports_fail_when_no_kind_is_left(open_source: KerasSource, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="none of the formats"):
        Exports.asked_for(("tflite",)).write_baseline(open_source, tmp_path, None)


def test_exports_fail_when_the_optimized_model_can_be_written_as_nothing(
    open_source: KerasSource, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed, match=r"the optimized model .* 'sequence'"):
        Exports.asked_for(("tflite",)).write_all(open_source, tmp_path, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("LeNet-5.keras", "LeNet-5.tflite"),
        ("../../etc/pass wd.h5", "pass_wd.tflite"),
        ("<b>.keras", "b.tflite"),
        ("...", "model.tflite"),
    ],
)
def test_artifact_is_named_after_the_model_without_what_is_unsafe(
    given: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "optimized.tflite"
    artifact = artifact_of(ExportedFile("tflite", "int8", path, path), tmp_path, given)
    assert artifact.filename == expected
    assert artifact.path == Path("out/optimized.tflite")
