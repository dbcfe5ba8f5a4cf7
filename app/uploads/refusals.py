"""What a data file cannot be read for, as the refusal of an upload."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.datafiles.unreadable import UnreadableData
from app.errors import RejectedUpload


@contextmanager
def refusing() -> Iterator[None]:
    """Raises: RejectedUpload in place of UnreadableData."""
    try:
        yield
    except UnreadableData as error:
        raise RejectedUpload(error.detail, hint=error.hint) from error
