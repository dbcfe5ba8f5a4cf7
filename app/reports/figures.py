"""Numbers as people read them: units, signs, intervals; pure."""

UNKNOWN = "-"
MINUS = "\N{MINUS SIGN}"
# Ratios that differ from 1 by less are no difference.
NOTICEABLE = 0.02
BYTE_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def bytes_text(size_bytes: int | None) -> str:
    if size_bytes is None:
        return UNKNOWN
    for factor, unit in BYTE_UNITS:
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes:,} B"


def count_text(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def short_count_text(count: int | None) -> str:
    """Three digits and a unit of a thousand or a million."""
    if count is None:
        return UNKNOWN
    for factor, unit in ((10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{float(f'{count / factor:.3g}'):g} {unit}"
    return str(count)


def percent_text(share: float | None, digits: int = 2) -> str:
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def interval_text(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    return f"[{100 * interval[0]:.2f} to {100 * interval[1]:.2f}]"


def points_text(drop: float | None) -> str:
    """A drop of accuracy as a change in percentage points."""
    if drop is None:
        return UNKNOWN
    return f"{signed(-100 * drop, 2)} points"


def latency_text(latency_ms: float | None) -> str:
    if latency_ms is None:
        return UNKNOWN
    if latency_ms < 1:
        return f"{1000 * latency_ms:.1f} µs"
    return f"{latency_ms:.2f} ms"


def number_text(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:.4g}"


def smaller_text(ratio: float | None) -> str:
    """How many times smaller, or that it grew."""
    if ratio is None:
        return UNKNOWN
    if abs(ratio - 1) <= NOTICEABLE:
        return "same"
    digits = 1 if max(ratio, 1 / ratio) >= 1.1 else 2
    return f"{ratio:.{digits}f}x smaller" if ratio > 1 else f"{1 / ratio:.{digits}f}x larger"


def faster_text(ratio: float | None) -> str:
    if ratio is None:
        return UNKNOWN
    if abs(ratio - 1) <= NOTICEABLE:
        return "same"
    return f"{ratio:.2f}x faster" if ratio > 1 else f"{1 / ratio:.2f}x slower"


def signed(number: float, digits: int) -> str:
    text = f"{abs(number):.{digits}f}"
    if float(text) == 0:
        return f"±{text}"
    return f"{'+' if number > 0 else MINUS}{text}"


def duration_text(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
