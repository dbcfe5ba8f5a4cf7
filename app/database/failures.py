"""What a failing database means for whoever asked: no room, or not at the moment."""

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.errors import PenjingError, StorageFull, Unavailable

SQLITE_FULL = "database or disk is full"
POSTGRESQL_DISK_FULL = "53100"


def known_failure(error: SQLAlchemyError) -> PenjingError:
    """The error to answer with; drivers put addresses and statements into theirs."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if SQLITE_FULL in str(cause) or getattr(cause, "sqlstate", None) == POSTGRESQL_DISK_FULL:
        return StorageFull(
            "there is no room left in the database",
            hint="Free some disk space; what was sent before is safe.",
        )
    return Unavailable(
        "the database does not answer as it should", hint="Try again in a few seconds."
    )
