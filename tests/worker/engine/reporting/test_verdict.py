"""Verdicts and warnings, from figures alone."""

from dataclasses import replace
from typing import Any

import pytest

from app.recipes.constraints import Constraints
from app.reports.report import Control, Delta, Measurement
from worker.engine.reporting.verdict import Comparison, verdict_of, warnings_of

NO_TARGETS = Constraints.model_validate({})


def measured(**changes: Any) -> Measurement:
    figures = {
        "format": "tflite",
        "variant": "float32",
        "runtime": "a runtime",
        "threads": 1,
        "batch_size": 1,
        "samples": 1000,
        "accuracy": 0.98,
        "accuracy_ci95": (0.97, 0.99),
        "loss": 0.1,
        "mse": None,
        "mae": None,
        "r2": None,
        "heads": (),
        "sha256": "a" * 64,
        "size_bytes": 4000,
        "compressed_size_bytes": 3600,
        "parameter_count": 1000,
        "nonzero_parameter_count": 1000,
        "macs": 1000,
        "latency_ms_p50": 2.0,
        "latency_ms_p95": 3.0,
        "latency_ms_iqr": 0.1,
        "latency_runs": 100,
        "peak_memory_bytes": 10_000_000,
    }
    return Measurement.model_validate({**figures, **changes})


def compared(
    *, control: Control | None = None, delta: dict[str, Any] | None = None, **changes: Any
) -> Comparison:
    baseline, optimized = measured(), measured(**{"variant": "int8", **changes})
    assert baseline.latency_ms_p50
    figures = {
        "accuracy_drop": (baseline.accuracy or 0) - (optimized.accuracy or 0),
        "compression_ratio": baseline.compressed_size_bytes / optimized.compressed_size_bytes,
        "size_ratio": baseline.size_bytes / optimized.size_bytes,
        "speedup": baseline.latency_ms_p50 / (optimized.latency_ms_p50 or 1),
        "agreement": 1.0,
        "p_value": 1.0,
    }
    return Comparison(
        baseline, optimized, Delta.model_validate({**figures, **(delta or {})}), control
    )


def warned(comparison: Comparison, constraints: Constraints = NO_TARGETS) -> str:
    return "\n".join(warnings_of(comparison, constraints))


def test_verdict_is_met_when_it_is_smaller_and_nothing_was_asked() -> None:
    assert verdict_of(compared(compressed_size_bytes=1000), NO_TARGETS) == "met"


def test_verdict_is_met_when_it_is_only_faster() -> None:
    assert verdict_of(compared(latency_ms_p50=1.0), NO_TARGETS) == "met"


@pytest.mark.parametrize(
    "changes",
    [{}, {"latency_ms_p50": 1.95}, {"compressed_size_bytes": 3599}],
    ids=["same", "latency", "size"],
)
def test_verdict_is_no_improvement_when_nothing_got_better_beyond_noise(
    changes: dict[str, Any],
) -> None:
    assert verdict_of(compared(**changes), NO_TARGETS) == "no_improvement"


@pytest.mark.parametrize(
    ("target", "limit", "changes"),
    [
        ("max_accuracy_drop", 0.005, {"accuracy": 0.97}),
        ("max_size_bytes", 3000, {"size_bytes": 3001}),
        ("max_latency_ms", 1.0, {"latency_ms_p50": 1.1}),
    ],
)
def test_missed_target_decides_the_verdict_and_is_named_with_both_numbers(
    target: str, limit: float, changes: dict[str, Any]
) -> None:
    comparison = compared(compressed_size_bytes=1000, **changes)
    constraints = Constraints.model_validate({target: limit})
    assert verdict_of(comparison, constraints) == "target_not_met"
    assert f"({target})" in warned(comparison, constraints)
    assert f"{limit:g}" in warned(comparison, constraints)


def test_target_on_accuracy_is_missed_when_accuracy_is_not_known() -> None:
    comparison = compared(delta={"accuracy_drop": None})
    constraints = Constraints.model_validate({"max_accuracy_drop": 0.1})
    assert verdict_of(comparison, constraints) == "target_not_met"


def test_warnings_say_that_it_became_slower_and_bigger() -> None:
    text = warned(compared(latency_ms_p50=4.0, compressed_size_bytes=5000))
    assert "int8 is slower than float32 here: 4 ms against 2 ms" in text
    assert "bigger: 5000 bytes after gzip against 3600" in text


def test_warnings_say_what_a_mixed_file_is() -> None:
    text = warned(compared(latency_ms_p50=4.0, variant="mixed"))
    assert "an int8 file with operators in float (mixed) is slower than float32 here" in text


def test_warnings_tell_apart_files_of_the_same_variant() -> None:
    text = warned(compared(latency_ms_p50=4.0, variant="float32"))
    assert "The optimized file is slower than the baseline here: 4 ms against 2 ms" in text


def test_warnings_are_none_when_everything_got_better() -> None:
    better = compared(latency_ms_p50=1.0, compressed_size_bytes=1000, size_bytes=1000)
    assert warned(better) == ""


@pytest.mark.parametrize(
    ("accuracy", "p_value", "words"),
    [
        (0.975, 0.01, "0.0050, more than chance explains (paired test: p = 0.01)"),
        (0.979, 0.5, "0.0010, within what chance explains (paired test: p = 0.5)"),
        # Below the baseline's interval, yet the pairs do not tell.
        (0.96, 0.31, "0.0200, within what chance explains (paired test: p = 0.31)"),
    ],
)
def test_warnings_tell_a_drop_from_chance_by_the_paired_test(
    accuracy: float, p_value: float, words: str
) -> None:
    text = warned(compared(accuracy=accuracy, delta={"p_value": p_value}))
    assert f"Accuracy dropped by {words}" in text


def test_warnings_are_silent_about_accuracy_when_it_rose() -> None:
    assert "chance" not in warned(compared(accuracy=0.985, delta={"p_value": 0.01}))


def test_warnings_say_that_the_file_as_downloaded_became_bigger() -> None:
    text = warned(compared(compressed_size_bytes=1000, size_bytes=4001))
    assert "as downloaded became bigger: 4001 bytes against 4000" in text


def test_warnings_say_that_zeros_give_no_speed_up() -> None:
    text = warned(compared(nonzero_parameter_count=100))
    assert "90% of the parameters are zero" in text
    assert "no speed-up" in text


@pytest.mark.parametrize("nonzero", [1000, 920], ids=["none", "made by rounding"])
def test_warnings_are_silent_about_few_zeros(nonzero: int) -> None:
    assert "zero" not in warned(compared(nonzero_parameter_count=nonzero))


def test_warnings_are_silent_about_zeros_that_the_uploaded_model_had() -> None:
    sparse = measured(nonzero_parameter_count=100)
    comparison = compared(nonzero_parameter_count=90)
    assert "zero" not in warned(replace(comparison, baseline=sparse))


def test_warnings_say_how_much_training_alone_gained() -> None:
    control = Control(epochs=3, accuracy=0.99, r2=None, accuracy_gain=0.01)
    assert "+0.0100; that much" in warned(compared(control=control))


def test_warnings_say_what_compression_cost_when_the_control_is_better() -> None:
    control = Control(epochs=3, accuracy=0.99, r2=None, accuracy_gain=0.01)
    text = warned(compared(control=control, accuracy=0.985))
    assert "trained as long, compression cost 0.005: accuracy 0.985 against 0.990" in text


def test_warnings_name_no_cost_when_the_control_is_worse() -> None:
    control = Control(epochs=3, accuracy=0.97, r2=None, accuracy_gain=-0.01)
    assert "compression cost" not in warned(compared(control=control))
