"""What a data file cannot be read for, as the failure of a job."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.datafiles.unreadable import UnreadableData
from app.errors import DataNotUsable


@contextmanager
def failing() -> Iterator[None]:
    """Raises: DataNotUsable in place of UnreadableData."""
    try:
        yield
    except UnreadableData as error:
        raise DataNotUsable(error.detail, hint=error.hint) from error
