"""Jobs on uploaded SavedModels: what went in as a zip comes out smaller, and computes the same."""

import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from app.errors import ExportFailed, ModelNotLoadable
from app.recipes.facts import ModelFormat
from tests.builders import (
    branched_model,
    dense_model,
    randomized,
    recurrent_model,
)
from tests.hostile_files import CORPUS
from tests.worker.engine.test_run import Desk, Job, desk  # noqa: F401  # a fixture
from worker.engine.exporting.archive import files_below, write_zip
from worker.engine.exporting.files import write_file
from worker.engine.exporting.saved_model_source import SavedModelSource
from worker.engine.exporting.source import KerasSource
from worker.engine.loading.saved_models import load_saved_model
from worker.engine.order import Order

FLOAT16 = {"technique": "float16_quantization"}
INT8 = {"technique": "full_integer_quantization"}


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    write_zip(path, files_below(folder), compressed=True)
    return path


def exported(model: Any, folder: Path) -> Path:
    """As model.export writes it, with an empty folder for assets."""
    model.export(str(folder), verbose=False)
    with zipfile.ZipFile(zipped(folder), "a") as archive:
        archive.writestr("assets/", b"")
    return folder.with_suffix(".zip")


def given(desk: Desk, order: Order, path: Path) -> Order:  # noqa: F811
    file = order.model.model_copy(update={"path": path, "format": ModelFormat.SAVED_MODEL})
    return order.model_copy(update={"model": file})


def tflite_outputs(job: Job, rows: Any) -> Any:
    interpreter = Interpreter(model_path=str(job.file("tflite")))
    runner = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()
    parts = [next(iter(runner(**{name: row[None]}).values())) for row in rows]
    return np.concatenate(parts)


def test_run_converts_a_saved_model_to_float16(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    model = randomized(dense_model())
    order = given(desk, desk.order(model, FLOAT16), exported(model, tmp_path / "m"))
    job = desk.done(order)
    report, rows = job.result.report, job.arrays["x_test.features"]
    assert (report.baseline.variant, report.optimized.variant) == ("float32", "float16")
    assert report.optimized.accuracy is not None
    assert report.optimized.parameter_count == model.count_params()
    assert np.allclose(tflite_outputs(job, rows), model.predict(rows, verbose=0), atol=2e-3)


@pytest.mark.hostile
def test_run_offers_the_saved_model_itself_where_tflite_has_no_such_operator(
    desk: Desk,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Then TensorFlow runs both sides; tf.saved_model.save leaves a saver that restores nothing."""
    features = keras.Input((4,), name="features")
    hidden = keras.ops.erfinv(0.9 * keras.layers.Dense(3, activation="tanh")(features))
    model = randomized(keras.Model(features, keras.layers.Dense(3, activation="softmax")(hidden)))
    tf.saved_model.save(model, str(tmp_path / "m"))
    path = zipped(tmp_path / "m")
    job = desk.done(
        given(desk, desk.order(model, FLOAT16, outputs=("tflite", "saved_model")), path)
    )
    (only,) = job.result.report.outputs
    assert only.runtime.startswith("tensorflow")
    assert only.parameter_count == model.count_params()
    assert any("No tflite file is offered" in warning for warning in job.result.report.warnings)
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(job.file("saved_model")) as after:
        assert after.namelist() == sorted(name for name in before.namelist())
        assert all(before.read(name) == after.read(name) for name in after.namelist())


def test_run_converts_loops_over_time_of_an_open_batch(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    model = recurrent_model()
    order = desk.order(model, {"technique": "dynamic_range_quantization"})
    job = desk.done(given(desk, order, exported(model, tmp_path / "m")))
    report, rows = job.result.report, job.arrays["x_test.sequence"]
    assert any("one sample at a time" in sentence for sentence in report.understood)
    ours = model.predict(rows, verbose=0)
    assert np.abs(tflite_outputs(job, rows) - ours).max() < 0.02


def test_run_takes_back_what_it_offered_of_several_inputs(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    model = branched_model()
    folder = KerasSource(model, tmp_path / "own", {}).saved_model()
    job = desk.done(given(desk, desk.order(model, INT8), zipped(folder)))
    assert job.result.report.optimized.variant == "int8"
    assert {head.output for head in job.result.report.optimized.heads} == {"kind", "amount"}


def test_run_takes_the_honest_saved_model_of_the_corpus(desk: Desk) -> None:  # noqa: F811
    order = desk.order(dense_model(), FLOAT16, data=False)
    job = desk.done(given(desk, order, CORPUS / "s00_ok.zip"))
    assert job.result.report.optimized.format == "tflite"
    rows = np.arange(8, dtype="float32").reshape(2, 4)
    assert np.array_equal(tflite_outputs(job, rows), 2 * rows)


@pytest.mark.parametrize("name", ["s09_alloc_bomb.zip", "s10_infinite_loop.zip"])
def test_run_refuses_outputs_that_are_not_by_row(desk: Desk, name: str) -> None:  # noqa: F811
    order = desk.order(dense_model(), FLOAT16, data=False)
    with pytest.raises(ModelNotLoadable, match="no batch axis") as raised:
        desk.done(given(desk, order, CORPUS / name))
    assert raised.value.stage == "loading"


def test_saved_model_is_offered_with_the_bytes_that_came_in(tmp_path: Path) -> None:
    path = exported(dense_model(), tmp_path / "m")
    model = load_saved_model(path, tmp_path / "in")
    source = SavedModelSource(model, tmp_path / "scratch", {})
    written = write_file("saved_model", source, tmp_path / "out" / "optimized", None)
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(written.path) as after:
        assert after.namelist() == sorted(name for name in before.namelist() if name[-1] != "/")
        assert all(before.read(name) == after.read(name) for name in after.namelist())
    with pytest.raises(ExportFailed, match="without Keras layers cannot be turned into keras"):
        write_file("keras", source, tmp_path / "out" / "optimized", None)


def test_load_writes_under_names_of_its_own_only(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("any/saved_model.pb", b"")
        archive.writestr("any/../../escaped", b"x")
    with pytest.raises(ModelNotLoadable, match="no part of a SavedModel"):
        load_saved_model(path, tmp_path / "in" / "m")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.zip"]


def test_load_names_inputs_and_ends_as_the_inspector_does(tmp_path: Path) -> None:
    """Both read the same signature; neither knows the other."""
    from app.uploads.inspector.saved_model.file import read_saved_model

    inputs = keras.Input((4,), name="features")
    outputs = {f"output_{k}": keras.layers.Dense(k + 1)(inputs) for k in (10, 9, 2)}
    model = keras.Model(inputs, outputs)
    path = exported(model, tmp_path / "m")
    loaded = load_saved_model(path, tmp_path / "in")
    with path.open("rb") as file:
        facts = read_saved_model(file)
    assert loaded.inputs == facts.inputs
    assert loaded.heads == facts.heads
    assert [head.output for head in facts.heads] == sorted(
        (head.output for head in facts.heads), key=lambda name: int(name.split("_")[1])
    )
    assert sum(weight.size for weight in loaded.weights) == facts.parameter_count
