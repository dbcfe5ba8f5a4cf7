"""Cursors of lists: where the next page begins. What no list gave out is refused."""

from app.errors import Malformed
from app.ids import ID


def id_cursor(cursor: str, *prefixes: str) -> str:
    """One that is the last id of the page before, of a list with ids of these prefixes.

    Raises: Malformed.
    """
    if not ID.fullmatch(cursor) or not cursor.startswith(tuple(f"{one}_" for one in prefixes)):
        raise not_given_out()
    return cursor


def not_given_out() -> Malformed:
    return Malformed(
        "this cursor is not one that a list gave out", hint="Start again without a cursor."
    )
