"""Which kinds of files a job offers, and under which names."""

from functools import partial
from pathlib import Path

import keras
import pytest

from app.errors import ExportFailed, StepFailed
from worker.engine.exporting.c_array import read_c_array
from worker.engine.exporting.files import ExportedFile
from worker.engine.exporting.rungs import Rung, Rungs
from worker.engine.exporting.source import Converted, KerasSource
from worker.engine.exports import Exports, Offer, artifact_of


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
    assert exports.write_baseline(conv_source, tmp_path).kind == "tflite"


def test_exports_fall_back_with_a_warning_when_a_kind_cannot_be_written(
    open_source: KerasSource, tmp_path: Path
) -> None:
    exports = Exports.asked_for(("tflite", "saved_model"))
    assert exports.write_baseline(open_source, tmp_path).kind == "saved_model"
    assert len(exports.warnings) == 1
    assert exports.warnings[0].startswith("No tflite file is offered: input 'sequence'")


def test_exports_fail_when_no_kind_is_left(open_source: KerasSource, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="none of the formats") as failed:
        Exports.asked_for(("tflite",)).write_baseline(open_source, tmp_path)
    assert str(failed.value.hint).startswith("Give a data set (its rows have a length)")


def test_exports_fail_when_the_optimized_model_can_be_written_as_nothing(
    open_source: KerasSource, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed, match=r"the optimized model .* 'sequence'") as failed:
        Offer(Exports.asked_for(("tflite",)), open_source, tmp_path, {}).write_all()
    assert str(failed.value.hint).startswith("Give a data set (its rows have a length)")


def test_exports_name_what_tflite_cannot_compute_and_say_what_to_do(tmp_path: Path) -> None:
    inputs = keras.Input((3,), dtype="int64", name="words")
    looked_up = keras.layers.IntegerLookup(vocabulary=[5, 6, 7], output_mode="multi_hot")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(looked_up))
    source = KerasSource(model, tmp_path / "source", {})

    with pytest.raises(ExportFailed, match="nothing that computes DenseBincount, Hash") as failed:
        Exports.asked_for(("tflite",)).write_baseline(source, tmp_path)
    assert str(failed.value.hint).startswith("Leave the layers that need it out of the model")


class Written:
    """Ways to write a tflite file; those called `bad` fail."""

    def __init__(self, *names: str, content: bytes | None = None) -> None:
        self.tried: list[str] = []
        self.content = content
        self.rungs = [Rung(name, partial(self._write, name)) for name in names]

    def _write(self, name: str) -> Converted | None:
        self.tried.append(name)
        if name.startswith("bad"):
            raise StepFailed(f"the converter said no to {name}")
        return None if name == "not here" else Converted(self.content or name.encode(), "int8")


def test_offer_falls_to_the_next_best_with_the_reason(
    conv_source: KerasSource, tmp_path: Path
) -> None:
    exports = Exports.asked_for(("tflite",))
    ways = Written("bad int8", "not here", "float16")
    (file,) = Offer(exports, conv_source, tmp_path, {"tflite": ways.rungs}).write_all()
    assert file.path.read_bytes() == b"float16"
    (warning,) = exports.warnings
    assert warning == (
        "bad int8 gave no tflite file that holds: the converter said no to bad int8. Tried next: "
        "not here."
    )


def test_offer_drops_a_kind_when_no_way_is_left(conv_source: KerasSource, tmp_path: Path) -> None:
    exports = Exports.asked_for(("tflite", "keras"))
    ways = Written("bad one", "bad two")
    (file,) = Offer(exports, conv_source, tmp_path, {"tflite": ways.rungs}).write_all()
    assert file.kind == "keras"
    assert exports.kinds == ["keras"]
    assert exports.warnings[1] == "No tflite file is offered: the converter said no to bad two."


def test_offer_converts_once_for_all_kinds_that_hold_the_same(
    conv_source: KerasSource, conv_files: dict[str, bytes], tmp_path: Path
) -> None:
    exports = Exports.asked_for(("tflite", "c_array"))
    ways = Written("bad int8", "float16", content=conv_files["float16"])
    rungs: Rungs = {"tflite": ways.rungs, "c_array": ways.rungs}
    tflite, c_array = Offer(exports, conv_source, tmp_path, rungs).write_all()
    assert ways.tried == ["bad int8", "float16"]
    assert read_c_array(c_array.path) == tflite.path.read_bytes() == conv_files["float16"]


def test_offer_gives_the_next_best_for_a_file_that_did_not_hold(
    conv_source: KerasSource, tmp_path: Path
) -> None:
    exports = Exports.asked_for(("tflite",))
    offer = Offer(exports, conv_source, tmp_path, {"tflite": Written("one", "two").rungs})
    offer.write_all()
    better = offer.next_best("tflite", "its outputs hold NaN")
    assert better is not None
    assert better.path.read_bytes() == b"two"
    assert "one gave no tflite file that holds: its outputs hold NaN." in exports.warnings[0]
    assert offer.next_best("tflite", "it crashed") is None
    assert exports.kinds == []


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
