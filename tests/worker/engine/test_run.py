"""Whole jobs: an order goes in, files, a report and a verdict come out."""

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from app.errors import Cancelled, LayerNotRemovable, ModelNotLoadable
from app.recipes.facts import ModelFormat
from app.recipes.outputs import OUTPUT_KINDS
from tests.builders import (
    branched_model,
    conv_model,
    dense_model,
    learnable_labels,
    recurrent_model,
    rows_for,
)
from worker.engine import run as run_module
from worker.engine.exporting.c_array import read_c_array
from worker.engine.loading.models import heads
from worker.engine.measuring.statistics import mcnemar_p_value, wilson_interval
from worker.engine.order import CANCEL, INPUTS, Event, Order, Result
from worker.engine.run import run
from worker.engine.training.checkpoints import Checkpoints

# Keras 3.15 copies variables in a way that numpy 2 announces the end of.

INT8 = {"technique": "full_integer_quantization"}


@dataclass
class Job:
    """A finished job with what it was given and what it said."""

    order: Order
    folder: Path
    events: list[Event]
    result: Result
    arrays: dict[str, Any]

    def file(self, kind: str) -> Path:
        (artifact,) = [one for one in self.result.artifacts if one.kind == kind]
        return self.folder / artifact.path


class Desk:
    """Writes orders and has them carried out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def order(self, model: Any, *steps: dict[str, Any], data: bool = True, **fields: Any) -> Order:
        (self.folder / INPUTS).mkdir(parents=True, exist_ok=True)
        path = self.folder / "given.keras"
        model.save(path)
        self.arrays = arrays_for(model)
        np.savez(self.folder / "rows.npz", **self.arrays)
        dataset = {
            "path": self.folder / "rows.npz",
            "format": "npz",
            "sha256": "d" * 64,
            "options": {},
        }
        return Order.model_validate(
            {
                "job_id": "job_1",
                "model": {
                    "path": path,
                    "format": "keras",
                    "name": "My net.keras",
                    "sha256": "m" * 64,
                },
                "dataset": dataset if data else None,
                "recipe": {"seed": 7, "steps": steps},
                "outputs": ("tflite",),
                "constraints": {},
                "control": False,
                **fields,
            }
        )

    def done(self, order: Order) -> Job:
        events: list[Event] = []
        result = run(order, self.folder, events.append)
        return Job(order, self.folder, events, result, self.arrays)


def arrays_for(model: Any) -> dict[str, Any]:
    ends = heads(model, None)
    arrays: dict[str, Any] = {}
    for split, rows, seed in (("train", 120, 0), ("test", 60, 1)):
        inputs = rows_for(model, rows, seed=seed)
        arrays |= {f"x_{split}.{name}": values for name, values in inputs.items()}
        arrays |= {f"y_{split}.{end.output}": learnable_labels(inputs, end) for end in ends}
    return arrays


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "job")


@pytest.fixture(scope="module")
def pruned_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Pruned, trained, quantized, with its control, in every format."""
    desk = Desk(tmp_path_factory.mktemp("pruned") / "job")
    pruning = {
        "technique": "magnitude_pruning",
        "sparsity": 0.5,
        "recovery": {"epochs": 4, "learning_rate": 0.02, "batch_size": 16},
    }
    return desk.done(
        desk.order(
            dense_model(),
            pruning,
            INT8,
            outputs=("keras", "tflite", "saved_model", "onnx", "c_array", "packed"),
            control=True,
        )
    )


def predictions(path: Path, rows: Any) -> Any:
    """Outputs of a tflite file with float ports, one row at a time, by a loop of our own."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    given, returned = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for row in rows:
        interpreter.set_tensor(given["index"], row[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(returned["index"])[0])
    return np.array(outputs)


def test_run_reports_what_an_independent_recomputation_gives(pruned_job: Job) -> None:
    report = pruned_job.result.report
    labels = pruned_job.arrays["y_test.classes"]
    rows = pruned_job.arrays["x_test.features"]
    baseline_path = pruned_job.folder / "scratch" / "baseline.tflite"
    before = predictions(baseline_path, rows).argmax(axis=1)
    after = predictions(pruned_job.file("tflite"), rows).argmax(axis=1)
    assert report.baseline.accuracy == pytest.approx((before == labels).mean())
    assert report.optimized.accuracy == pytest.approx((after == labels).mean())
    assert report.optimized.accuracy_ci95 == pytest.approx(
        wilson_interval(int((after == labels).sum()), 60)
    )
    assert report.delta.agreement == pytest.approx((before == after).mean())
    assert report.delta.p_value == pytest.approx(
        mcnemar_p_value(
            int(((before == labels) & (after != labels)).sum()),
            int(((before != labels) & (after == labels)).sum()),
        )
    )
    assert report.optimized.size_bytes == pruned_job.file("tflite").stat().st_size


def test_run_compares_the_same_kind_of_file_on_the_same_runtime(pruned_job: Job) -> None:
    report = pruned_job.result.report
    assert report.baseline.format == report.optimized.format == "tflite"
    assert report.baseline.runtime == report.optimized.runtime
    assert (report.baseline.variant, report.optimized.variant) == ("float32", "int8")
    assert report.delta.speedup is not None


def test_run_measures_every_file_it_offers(pruned_job: Job) -> None:
    outputs = {one.format: one for one in pruned_job.result.report.outputs}
    assert set(outputs) == {artifact.kind for artifact in pruned_job.result.artifacts}
    assert set(outputs) == set(OUTPUT_KINDS)
    for artifact in pruned_job.result.artifacts:
        content = (pruned_job.folder / artifact.path).read_bytes()
        assert artifact.format == artifact.kind
        assert outputs[artifact.kind].sha256 == hashlib.sha256(content).hexdigest()
    for one in outputs.values():
        assert one.samples == 60
        assert one.latency_ms_p50
        assert one.peak_memory_bytes
    assert outputs["keras"].runtime.startswith("keras 3.")
    assert outputs["keras"].accuracy == outputs["saved_model"].accuracy
    packed = outputs["packed"]
    assert packed.accuracy == outputs["keras"].accuracy
    assert packed.weights_bytes
    assert packed.weights_bytes < packed.size_bytes < outputs["keras"].size_bytes / 10


def test_run_converts_every_kind_that_the_conversion_writes(pruned_job: Job) -> None:
    report = pruned_job.result.report
    outputs = {one.format: one for one in report.outputs}
    variants = {kind: one.variant for kind, one in outputs.items()}
    assert variants == {
        "tflite": "int8",
        "onnx": "int8",
        "c_array": "int8",
        "saved_model": "float32",
        "keras": "float32",
        "packed": "float32",
    }
    assert outputs["onnx"].runtime.startswith("onnxruntime 1.")
    assert outputs["c_array"].accuracy == outputs["tflite"].accuracy
    assert read_c_array(pruned_job.file("c_array")) == pruned_job.file("tflite").read_bytes()
    (quantization,) = report.steps[1:]
    assert quantization.facts["float_operators"] == {}
    assert quantization.facts["onnx_float_operators"] == {}
    assert "the onnx file is of opset 17; its batch is open" in report.understood
    assert report.provenance.versions["onnxruntime"] != "unknown"


def test_run_keeps_zeros_through_to_the_files(pruned_job: Job) -> None:
    model = keras.models.load_model(pruned_job.file("keras"))
    kernels = [np.asarray(model.get_layer(name).kernel) for name in ("hidden", "classes")]
    assert [np.count_nonzero(kernel) / kernel.size for kernel in kernels] == [0.5, 0.5]
    optimized = pruned_job.result.report.optimized
    assert optimized.nonzero_parameter_count < optimized.parameter_count == 8 * 5 + 3 * 9


def test_run_reports_each_step_with_its_validation_accuracies(pruned_job: Job) -> None:
    pruning, quantization = pruned_job.result.report.steps
    assert pruning.technique == "magnitude_pruning"
    assert pruning.parameters["sparsity"] == 0.5
    assert None not in (
        pruning.accuracy_before,
        pruning.accuracy_after_change,
        pruning.accuracy_after,
    )
    assert quantization.accuracy_before == pruning.accuracy_after
    assert quantization.accuracy_after is None


def test_run_trains_the_control_as_long(pruned_job: Job) -> None:
    report = pruned_job.result.report
    assert report.control is not None
    assert report.control.epochs == 4
    assert report.control.accuracy is not None
    assert report.baseline.accuracy is not None
    assert report.control.accuracy_gain == pytest.approx(
        report.control.accuracy - report.baseline.accuracy
    )


def test_run_says_how_it_read_model_and_data(pruned_job: Job) -> None:
    understood = "\n".join(pruned_job.result.report.understood)
    assert "input 'features' takes float32 rows of shape (4)" in understood
    assert "120 rows to train on, 60 to test on" in understood
    assert "output 'classes' predicts one class of several" in understood
    assert "it gives probabilities" in understood


def test_run_progress_grows_through_named_phases(pruned_job: Job) -> None:
    progress = [event.progress for event in pruned_job.events if event.progress is not None]
    assert progress == sorted(progress)
    assert [event.phase for event in pruned_job.events if event.event == "phase"] == [
        "loading",
        "baseline",
        "step 1: magnitude_pruning",
        "exporting",
        "measuring",
        "control",
        "reporting",
    ]


def test_run_result_survives_json(pruned_job: Job) -> None:
    written = pruned_job.result.model_dump_json()
    assert Result.model_validate_json(written) == pruned_job.result
    assert "NaN" not in json.dumps(json.loads(written))


def test_run_table_has_every_layer_with_bits_from_the_file(pruned_job: Job) -> None:
    assert [(row.name, row.bits) for row in pruned_job.result.layers] == [
        ("hidden", 8),
        ("classes", 8),
    ]


def test_run_gives_the_same_files_when_run_again(desk: Desk, tmp_path: Path) -> None:
    tuning = {"technique": "fine_tuning", "epochs": 1}
    contents = []
    for name in ("one", "two"):
        again = Desk(tmp_path / name)
        job = again.done(again.order(dense_model(), tuning, INT8))
        contents.append(job.file("tflite").read_bytes())
    assert contents[0] == contents[1]


def test_run_measures_several_inputs_and_outputs(desk: Desk) -> None:
    report = desk.done(desk.order(branched_model(), {**INT8, "io": "integer"})).result.report
    kind, amount = report.optimized.heads
    assert (kind.output, kind.accuracy is not None, kind.r2) == ("kind", True, None)
    assert (amount.output, amount.accuracy, amount.r2 is not None) == ("amount", None, True)
    assert report.delta.agreement is not None
    assert report.delta.agreement > 0.8


def test_run_claims_no_quantization_when_no_kernel_was_large_enough(desk: Desk) -> None:
    order = desk.order(dense_model(), {"technique": "dynamic_range_quantization"})
    result = desk.done(order).result
    assert result.report.optimized.variant == "float32"
    assert result.report.delta.compression_ratio == pytest.approx(1, abs=0.01)
    assert any("nothing was quantized" in warning for warning in result.report.warnings)


def test_run_works_without_data_and_says_what_it_cannot_know(desk: Desk) -> None:
    order = desk.order(dense_model(), {"technique": "float16_quantization"}, data=False)
    report = desk.done(order).result.report
    assert (report.optimized.accuracy, report.delta.p_value) == (None, None)
    assert report.delta.agreement == pytest.approx(1.0, abs=0.02)
    assert report.optimized.latency_ms_p50 is not None
    assert any("no data set" in sentence for sentence in report.understood)


def test_run_tells_what_a_structural_step_saved(desk: Desk) -> None:
    report = desk.done(
        desk.order(conv_model(), {"technique": "batch_norm_folding"}, INT8)
    ).result.report
    folding, quantization = report.steps
    assert folding.parameter_count_before == report.baseline.parameter_count
    assert folding.parameter_count_after == report.optimized.parameter_count
    assert folding.macs_before == folding.macs_after == report.baseline.macs
    assert folding.latency_ms_before is not None
    assert folding.latency_ms_after is not None
    assert quantization.parameter_count_before is None


def test_run_learns_from_another_model_and_says_which(desk: Desk) -> None:
    taught = {
        "technique": "fine_tuning",
        "epochs": 1,
        "distill": True,
        "teacher_model_ids": ["mdl_t"],
    }
    order = desk.order(dense_model(), taught)
    teacher = order.model.model_copy(update={"sha256": "t" * 64})
    job = desk.done(order.model_copy(update={"others": {"mdl_t": teacher}}))
    assert job.result.report.provenance.other_models_sha256 == {"mdl_t": "t" * 64}
    assert job.result.report.steps[0].parameters["teacher_model_ids"] == ["mdl_t"]


def test_run_converts_recurrent_models(desk: Desk) -> None:
    order = desk.order(recurrent_model(), {"technique": "dynamic_range_quantization"})
    report = desk.done(order).result.report
    assert report.optimized.accuracy is not None
    assert any("one sample at a time" in sentence for sentence in report.understood)


def test_run_takes_an_uploaded_tflite_file(desk: Desk, float_tflite: Path) -> None:
    order = desk.order(conv_model(), INT8)
    given = order.model.model_copy(update={"path": float_tflite, "format": ModelFormat.TFLITE})
    job = desk.done(order.model_copy(update={"model": given}))
    report = job.result.report
    assert (report.baseline.variant, report.optimized.variant) == ("float32", "int8")
    assert report.optimized.macs == 4 * 4 * 9 * 4 + 12
    assert [row.bits for row in job.result.layers] == [8, 8]


def test_run_tells_a_damaged_tflite_file_from_a_fault_of_its_own(
    desk: Desk, float_tflite: Path
) -> None:
    """Where uploads are not inspected, nobody has looked at it before."""
    order = desk.order(dense_model(), INT8)
    cut = desk.folder / "cut.tflite"
    cut.write_bytes(float_tflite.read_bytes()[:400])
    damaged = order.model.model_copy(update={"path": cut, "format": ModelFormat.TFLITE})
    with pytest.raises(ModelNotLoadable, match="the model cannot be read: ") as caught:
        desk.done(order.model_copy(update={"model": damaged}))
    assert caught.value.as_problem().hint


def test_run_holds_integers_against_the_model_that_learned_them(desk: Desk) -> None:
    learning = {"technique": "quantization_aware_training", "epochs": 1}
    job = desk.done(desk.order(dense_model(), learning, outputs=("tflite", "keras")))
    file, model = job.result.report.outputs
    rows = job.arrays["x_test.features"]
    ours = keras.saving.load_model(job.file("keras")).predict(rows, verbose=0).argmax(axis=1)
    theirs = predictions(job.file("tflite"), rows).argmax(axis=1)
    assert file.variant == "int8"
    assert file.agreement_with_keras == pytest.approx((ours == theirs).mean())
    assert model.agreement_with_keras is None


def test_run_names_missed_targets_and_still_offers_the_file(desk: Desk) -> None:
    order = desk.order(
        dense_model(), {"technique": "float16_quantization"}, constraints={"max_size_bytes": 100}
    )
    job = desk.done(order)
    assert job.result.verdict == "target_not_met"
    assert job.file("tflite").exists()
    assert any("max_size_bytes" in warning for warning in job.result.report.warnings)


def test_run_names_the_stage_when_a_step_fails(desk: Desk) -> None:
    removal = {"technique": "layer_removal", "layers": ["hidden"]}
    with pytest.raises(LayerNotRemovable) as raised:
        desk.done(desk.order(dense_model(), removal))
    assert raised.value.stage == "step 1: layer_removal"


def test_run_offers_the_next_best_when_a_conversion_fails(desk: Desk) -> None:
    """An order that the API would have refused: the int8 converter crashes on recurrent layers."""
    report = desk.done(desk.order(recurrent_model(), INT8)).result.report
    assert report.optimized.variant == "weight_only_int8"
    assert [step.technique for step in report.steps] == ["full_integer_quantization"]
    assert "recurrent" in report.steps[0].facts["tflite_obstacle"]
    assert any("Tried next: dynamic_range_quantization" in one for one in report.warnings)


@pytest.mark.parametrize("phase", ["loading", "step 1: fine_tuning", "measuring"])
def test_run_stops_when_cancelled(desk: Desk, phase: str) -> None:
    order = desk.order(dense_model(), {"technique": "fine_tuning", "epochs": 2}, INT8)

    def cancel(event: Event) -> None:
        if event.phase == phase:
            (desk.folder / CANCEL).touch()

    with pytest.raises(Cancelled):
        run(order, desk.folder, cancel)


def test_run_goes_on_with_the_trainings_of_an_attempt_before_it(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut off in the second training: the first is taken as it ended, the second goes on."""
    monkeypatch.setattr(run_module, "Checkpoints", partial(Checkpoints, seconds_between=0.0))
    caplog.set_level(logging.INFO)
    training = {"epochs": 2, "batch_size": 16}
    steps = (
        {"technique": "magnitude_pruning", "sparsity": 0.5, "recovery": training},
        {"technique": "fine_tuning", **training},
    )
    order = desk.order(dense_model(), *steps, checkpoints=tmp_path / "kept")
    whole = desk.done(order.model_copy(update={"checkpoints": None}))
    tflite = whole.file("tflite").read_bytes()

    def cancel(event: Event) -> None:
        if event.phase == "step 2: fine_tuning" and event.event == "metrics":
            (desk.folder / CANCEL).touch()

    with pytest.raises(Cancelled):
        run(order, desk.folder, cancel)
    (desk.folder / CANCEL).unlink()
    again = desk.done(order)

    assert caplog.messages.count("training.resumed") == 2
    assert again.file("tflite").read_bytes() == tflite


def test_later_steps_know_which_channels_survived_earlier_ones(desk: Desk) -> None:
    rewinding = {"technique": "initialization", "scheme": "pretrained"}
    pruning = {"technique": "channel_pruning", "pruning_ratio": 0.5, "importance": "random"}

    first, last = [
        keras.saving.load_model(
            desk.done(desk.order(dense_model(), *steps, data=False, outputs=("keras",))).file(
                "keras"
            )
        )
        for steps in ([pruning], [pruning, rewinding])
    ]

    assert first.count_params() < dense_model().count_params()
    for now, was in zip(last.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(now, was)


def test_uploaded_student_is_exported_under_the_names_of_the_model(desk: Desk) -> None:
    student = keras.Sequential(
        [
            keras.Input((4,), name="given"),
            keras.layers.Dense(2, activation="relu", name="small"),
            keras.layers.Dense(3, name="scores"),
        ]
    )
    desk.folder.mkdir()
    student.save(desk.folder / "student.keras")
    file = {
        "path": desk.folder / "student.keras",
        "format": "keras",
        "name": "student.keras",
        "sha256": "s" * 64,
    }
    distilling = {"technique": "distillation", "student": "model", "student_model_id": "mdl_s"}

    job = desk.done(
        desk.order(dense_model(), distilling, others={"mdl_s": file}, outputs=("keras", "tflite"))
    )

    report = job.result.report
    assert report.optimized.parameter_count == student.count_params()
    (step,) = report.steps
    assert (step.parameter_count_before, step.parameter_count_after) == (67, 19)
    runner = Interpreter(model_path=str(job.file("tflite"))).get_signature_runner()
    given = runner(features=np.zeros((1, 4), "float32"))["classes"]
    assert given.sum() == pytest.approx(1.0)
    reloaded = keras.saving.load_model(job.file("keras"))
    assert [head.output for head in heads(reloaded, None)] == ["classes"]


def test_run_measures_and_exports_a_model_saved_in_mixed_precision_in_float32(desk: Desk) -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu", dtype="mixed_bfloat16"),
            keras.layers.Dense(3, activation="softmax", dtype="mixed_bfloat16"),
        ]
    )
    order = desk.order(model, {"technique": "batch_norm_folding"}, outputs=("tflite", "keras"))

    done = desk.done(order)

    assert (
        "the model was saved with mixed_bfloat16; it is measured and exported in float32"
        in done.result.report.understood
    )
    assert {
        one.dtype_policy.name for one in keras.saving.load_model(done.file("keras")).layers
    } == {"float32"}
    assert [one.variant for one in done.result.report.outputs] == ["float32", "float32"]


@pytest.fixture(scope="module")
def poor_upload_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Untrained weights, trained, then distilled a little, then lost again."""
    desk = Desk(tmp_path_factory.mktemp("poor") / "job")
    half = {"validation_fraction": 0.5, "batch_size": 8}
    return desk.done(
        desk.order(
            dense_model(),
            {"technique": "fine_tuning", "epochs": 40, "learning_rate": 0.05, **half},
            {
                "technique": "magnitude_pruning",
                "sparsity": 0.0,
                "recovery": {"epochs": 1, "learning_rate": 1e-6, "distill": True, **half},
            },
            {"technique": "initialization", "scheme": "zeros"},
        )
    )


def test_run_teaches_from_the_better_model_when_the_upload_is_worse(poor_upload_job: Job) -> None:
    report = poor_upload_job.result.report
    (said,) = [warning for warning in report.warnings if "learned from the model" in warning]
    assert "Step 2 (magnitude_pruning)" in said
    assert f"scores {report.steps[1].accuracy_before:.4f} on 60 validation rows" in said
    assert f"scores {report.steps[0].accuracy_before:.4f}. " in said


def test_run_names_the_step_that_lost_accuracy(poor_upload_job: Job) -> None:
    report = poor_upload_job.result.report
    (said,) = [warning for warning in report.warnings if "lowered the accuracy" in warning]
    step = report.steps[2]
    assert said.startswith("Step 3 (initialization) lowered the accuracy on 12 validation rows")
    assert f"from {step.accuracy_before:.4f} to {step.accuracy_after:.4f}. Nothing trained" in said


def test_run_says_nothing_of_a_fall_that_a_later_step_made_good(desk: Desk) -> None:
    half = {"validation_fraction": 0.5, "batch_size": 8, "learning_rate": 0.05}
    training = {"technique": "fine_tuning", "epochs": 40, **half}
    order = desk.order(
        dense_model(), training, {"technique": "initialization", "scheme": "zeros"},
        {"technique": "initialization", "recovery": {"epochs": 40, **half}},
    )  # fmt: skip

    report = desk.done(order).result.report

    fell = report.steps[1]
    assert fell.accuracy_before is not None
    assert fell.accuracy_after is not None
    assert fell.accuracy_after < fell.accuracy_before - 0.2
    assert not [warning for warning in report.warnings if "lowered the accuracy" in warning]
