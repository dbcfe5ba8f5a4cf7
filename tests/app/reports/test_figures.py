"""Numbers as people read them."""

import pytest

from app.reports import figures


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (1_753_380, "1.7 MiB"), (None, "-")],
)
def test_bytes_have_a_fitting_unit(size: int | None, text: str) -> None:
    assert figures.bytes_text(size) == text


@pytest.mark.parametrize(
    ("drop", "text"),
    [
        (0.0123, "\N{MINUS SIGN}1.23 points"),
        (-0.002, "+0.20 points"),
        (0.00001, "±0.00 points"),
        (None, "-"),
    ],
)
def test_drop_is_shown_as_a_signed_change(drop: float | None, text: str) -> None:
    assert figures.points_text(drop) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (4.0, "4.0x smaller"),
        (0.5, "2.0x larger"),
        (1.05, "1.05x smaller"),
        (1.01, "same"),
        (None, "-"),
    ],
)
def test_ratio_says_larger_when_the_file_grew(ratio: float | None, text: str) -> None:
    assert figures.smaller_text(ratio) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.5, "1.50x faster"), (0.5, "2.00x slower"), (0.99, "same")]
)
def test_ratio_says_slower_when_it_got_slower(ratio: float, text: str) -> None:
    assert figures.faster_text(ratio) == text


@pytest.mark.parametrize(("latency", "text"), [(0.0172, "17.2 µs"), (3.456, "3.46 ms")])
def test_latency_has_a_fitting_unit(latency: float, text: str) -> None:
    assert figures.latency_text(latency) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.14, "3.1 s"), (75.4, "1 min 15 s"), (119.7, "2 min 0 s")]
)
def test_duration_is_in_minutes_when_it_is_long(seconds: float, text: str) -> None:
    assert figures.duration_text(seconds) == text
