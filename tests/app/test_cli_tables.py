"""The printed table, word for word where words carry the message."""

import io
from typing import Any

import pytest
from rich.console import Console

from app.cli.output import Output
from app.cli.running import tell_end, verdict_words
from app.cli.step_lines import step_lines
from app.cli.tables import before_after, circumstances
from app.jobs.views import JobView
from app.recipes.constraints import Constraints
from app.reports.report import (
    Control,
    Delta,
    Measurement,
    Provenance,
    Report,
    StepReport,
    Verdict,
)
from tests.app.test_client import job_json


def measured(**known: Any) -> Measurement:
    figures: dict[str, Any] = {
        "format": "tflite",
        "variant": "float32",
        "runtime": "ai_edge_litert 2.3.0",
        "threads": 1,
        "batch_size": 1,
        "samples": 5000,
        "accuracy": 0.9934,
        "accuracy_ci95": (0.9907, 0.9953),
        "loss": 0.02,
        "mse": None,
        "mae": None,
        "r2": None,
        "heads": (),
        "sha256": "a" * 64,
        "size_bytes": 1_750_000,
        "compressed_size_bytes": 1_600_000,
        "parameter_count": 431_080,
        "nonzero_parameter_count": 431_080,
        "macs": None,
        "latency_ms_p50": 0.08,
        "latency_ms_p95": 0.1,
        "latency_ms_iqr": 0.01,
        "latency_runs": 2000,
        "peak_memory_bytes": None,
    }
    return Measurement.model_validate(figures | known)


def report(optimized: Measurement, **known: Any) -> Report:
    delta = {
        "accuracy_drop": 0.001,
        "compression_ratio": 20.0,
        "size_ratio": 4.0,
        "speedup": 0.5,
        "agreement": 0.995,
        "p_value": 0.44,
    }
    parts: dict[str, Any] = {
        "baseline": measured(),
        "optimized": optimized,
        "outputs": (optimized,),
        "delta": Delta.model_validate(delta | known.pop("delta", {})),
        "control": None,
        "understood": (),
        "steps": (),
        "warnings": (),
        "provenance": Provenance(
            model_sha256="",
            dataset_sha256="ab",
            artifacts_sha256={},
            seed=0,
            recipe={},
            versions={},
            cpu="a CPU",
            cpu_count=2,
            threads=1,
        ),
    }
    return Report.model_validate(parts | known)


def rows(shown: Report) -> dict[str, list[str]]:
    """The table's cells by the name of their row, as they are printed."""
    console = Console(width=140, file=io.StringIO())
    with console.capture() as printed:
        console.print(before_after(shown))
    lines = [line for line in printed.get().splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    return {name: values for name, *values in cells}


def test_table_shows_sizes_before_and_after_with_their_ratio() -> None:
    optimized = measured(
        variant="int8",
        size_bytes=437_500,
        compressed_size_bytes=80_000,
        nonzero_parameter_count=43_108,
    )
    shown = rows(report(optimized))
    assert shown["file"] == ["tflite float32", "tflite int8", ""]
    assert shown["file size"] == ["1.7 MiB", "427.2 KiB", "4.0x smaller"]
    assert shown["gzip size"] == ["1.5 MiB", "78.1 KiB", "20.0x smaller"]
    assert shown["nonzero parameters"] == ["431,080", "43,108", "10.0 % left"]


def test_table_says_slower_when_it_got_slower() -> None:
    shown = rows(report(measured(latency_ms_p50=0.16)))
    assert shown["latency p50"] == ["80.0 µs", "160.0 µs", "2.00x slower"]


def test_table_shows_accuracy_with_its_interval_and_what_the_difference_is_worth() -> None:
    shown = rows(report(measured(accuracy=0.9924, accuracy_ci95=(0.9896, 0.9945))))
    assert shown["accuracy"] == ["99.34 %", "99.24 %", "\N{MINUS SIGN}0.10 points"]
    assert shown["95 % interval"] == ["[99.07 to 99.53]", "[98.96 to 99.45]", ""]
    assert shown["same prediction"] == ["", "99.50 %", ""]
    assert shown["p-value (McNemar)"] == ["", "0.440", "may be chance"]


def test_table_shows_the_control_when_there_was_one() -> None:
    control = Control(epochs=6, accuracy=0.9940, r2=None, accuracy_gain=0.0006)
    shown = rows(report(measured(), control=control))
    assert shown["original, trained as long (6 epochs)"] == ["99.40 %", "", "+0.06 points"]


def test_table_shows_r2_in_place_of_accuracy_when_it_is_a_regression() -> None:
    regression = {"accuracy": None, "accuracy_ci95": None, "r2": 0.98, "mse": 1.5, "mae": 1.0}
    shown = rows(report(measured(**regression), baseline=measured(**regression | {"r2": 0.981})))
    assert shown["r2"] == ["0.981", "0.98", "\N{MINUS SIGN}0.0010"]
    assert "accuracy" not in shown


def test_table_shows_no_quality_when_there_was_no_data() -> None:
    unknown = {"accuracy": None, "accuracy_ci95": None, "samples": None}
    delta = {"accuracy_drop": None, "agreement": None, "p_value": None}
    shown = rows(report(measured(**unknown), baseline=measured(**unknown), delta=delta))
    assert not {"accuracy", "r2", "same prediction", "p-value (McNemar)"} & shown.keys()


def a_step(**known: Any) -> StepReport:
    figures = {
        "technique": "channel_pruning",
        "parameters": {},
        "duration_s": 1.0,
        "accuracy_before": 0.99,
        "accuracy_after_change": 0.5,
        "accuracy_after": 0.985,
        "facts": {},
        "skipped": (),
    }
    return StepReport.model_validate(figures | known)


def test_step_is_told_with_what_it_saved() -> None:
    structural = a_step(
        parameter_count_before=2000,
        parameter_count_after=500,
        macs_before=100_000,
        macs_after=25_000,
        latency_ms_before=0.08,
        latency_ms_after=0.02,
    )
    tuning = a_step(technique="fine_tuning", accuracy_after_change=None)
    assert list(step_lines(report(measured(), steps=(structural, tuning)))) == [
        "Step by step, with scores on validation rows:",
        "1. channel_pruning: accuracy 99.00 % -> 50.00 % -> 98.50 %",
        "   2 k -> 500 parameters, 100 k -> 25 k multiply-adds, 80.0 µs -> 20.0 µs",
        "2. fine_tuning: accuracy 99.00 % -> 98.50 %",
    ]


def test_step_says_why_it_has_no_latency() -> None:
    unknown = {"accuracy_before": None, "accuracy_after_change": None, "accuracy_after": None}
    counts = {"parameter_count_before": 7, "parameter_count_after": 5}
    step = a_step(**unknown, **counts, latency_obstacle="it cannot be traced")
    assert list(step_lines(report(measured(), steps=(step,))))[1:] == [
        "1. channel_pruning",
        "   7 -> 5 parameters, no latency: it cannot be traced",
    ]


def test_steps_are_not_told_when_all_that_happened_was_a_conversion() -> None:
    unknown = {"accuracy_after_change": None, "accuracy_after": None}
    int8 = a_step(technique="full_integer_quantization", **unknown)
    assert list(step_lines(report(measured(), steps=(int8,)))) == []


def test_report_of_an_earlier_version_is_still_read() -> None:
    stored = report(measured(), steps=(a_step(),)).model_dump(mode="json")
    for name in ("macs_before", "latency_ms_after", "latency_obstacle"):
        del stored["steps"][0][name]
    del stored["provenance"]["other_models_sha256"]
    assert Report.model_validate(stored).steps[0].macs_before is None


def test_circumstances_name_rows_runs_runtime_and_cpu() -> None:
    text = circumstances(report(measured()))
    for fact in (
        "5,000 test rows",
        "1 thread,",
        "2,000 interleaved runs",
        "ai_edge_litert 2.3.0",
        "a CPU",
    ):
        assert fact in text


def without_data(shown: Report) -> Report:
    provenance = shown.provenance.model_copy(update={"dataset_sha256": None})
    return shown.model_copy(update={"provenance": provenance})


def test_circumstances_call_rows_random_when_there_was_no_data() -> None:
    assert "5,000 random rows" in circumstances(without_data(report(measured())))


def test_table_says_more_than_chance_when_the_p_value_is_small() -> None:
    shown = rows(report(measured(), delta={"p_value": 0.01}))
    assert shown["p-value (McNemar)"] == ["", "0.010", "more than chance"]


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (Constraints(), "No target was set"),
        (Constraints(max_size_bytes=1), "every target held"),
    ],
)
def test_verdict_speaks_of_targets_only_when_one_was_set(
    constraints: Constraints, words: str
) -> None:
    assert words in verdict_words(Verdict.MET, constraints)


def test_end_says_that_accuracy_is_unknown_when_there_was_no_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = without_data(report(measured()))
    job = JobView.model_validate(
        job_json(state="succeeded", verdict="met", report=shown.model_dump(mode="json"))
    )
    tell_end(job, Output(is_json=False))
    assert "Accuracy was not measured: no data set was given" in capsys.readouterr().out
