"""One job in a table: what its report says, whatever that holds."""

from typing import Any

import pytest

from app.web.job_line import Change, changes_of
from tests.app.api.given import a_report


def report(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    whole = a_report().model_dump(mode="json")
    return {
        **whole,
        "baseline": {**whole["baseline"], **before},
        "optimized": {**whole["optimized"], **after},
    }


def test_changes_are_accuracy_and_both_sizes() -> None:
    before = {"accuracy": 0.994, "size_bytes": 4096, "compressed_size_bytes": 3072}
    after = {"accuracy": 0.993, "size_bytes": 1024, "compressed_size_bytes": 512}

    assert changes_of(report(before, after)) == [
        Change("accuracy", "99.40 %", "99.30 %", "\N{MINUS SIGN}0.10 points"),
        Change("size", "4.0 KiB", "1.0 KiB", "4.0x smaller"),
        Change("gzip", "3.0 KiB", "512 B", "6.0x smaller"),
    ]


def test_regression_has_r2_in_place_of_accuracy() -> None:
    changed = changes_of(report({"accuracy": None, "r2": 0.98}, {"accuracy": None, "r2": 0.97}))
    assert changed[0] == Change("r2", "0.98", "0.97", "\N{MINUS SIGN}0.0100")


def test_model_that_was_measured_without_labels_has_sizes_alone() -> None:
    changed = changes_of(report({"accuracy": None}, {"accuracy": None}))
    assert [change.what for change in changed] == ["size", "gzip"]


@pytest.mark.parametrize("size", [0, 10**400, -(10**4200)])
def test_report_with_numbers_that_are_none_shows_nothing(size: int) -> None:
    for side in ("before", "after"):
        sizes = {"before": {}, "after": {}, side: {"size_bytes": size, "accuracy": float("nan")}}
        assert isinstance(changes_of(report(**sizes)), list)
    assert changes_of(report({}, {"size_bytes": size})) == []


@pytest.mark.parametrize("stored", [{}, {"baseline": None}, {"baseline": {"size_bytes": 1}}])
def test_report_of_another_version_shows_nothing(stored: dict[str, Any]) -> None:
    assert changes_of(stored) == []
