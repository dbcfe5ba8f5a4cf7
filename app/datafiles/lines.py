"""Lines of a table as text; pure."""

from collections.abc import Iterable, Iterator

Line = tuple[int, str]


def filled(lines: Iterable[str]) -> Iterator[Line]:
    """Those that hold something, numbered from 1; blank ones are passed over wherever they are."""
    return ((number, line) for number, line in enumerate(lines, 1) if not line.isspace())
