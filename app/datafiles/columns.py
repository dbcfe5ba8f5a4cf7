"""Columns of a table: which of them is the label; pure."""

import re
from collections.abc import Sequence

from app.datafiles.names import is_usable
from app.datafiles.unreadable import UnreadableData

LABEL = "label"
MAX_COLUMNS = 10_000
MAX_NAME_LENGTH = 200
MAX_SHOWN = 20
# Up to here float64 holds every whole number. Larger labels name no class and fit no int64.
LARGEST_WHOLE_LABEL = 2.0**53
# Where rows were chosen from a table, pandas stores their old numbers as a column.
INDEX_NAME = re.compile(r"__index_level_\d+__")

UNUSABLE = f"Give it one of 1 to {MAX_NAME_LENGTH} characters that can be shown."
UNNAMED_FIRST = (
    "pandas writes its row numbers there unless told not to: df.to_csv(path, index=False). "
    "If the column is a feature, name it."
)


def check_names(names: Sequence[str]) -> None:
    """Raises: UnreadableData where a column has no name of its own, or there are too many."""
    if len(names) > MAX_COLUMNS:
        raise UnreadableData(
            f"the table has {len(names)} columns; at most {MAX_COLUMNS} are read",
            hint="Save it as .npz.",
        )
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not is_usable(name, MAX_NAME_LENGTH):
            raise UnreadableData(
                f"column {position} has no usable name: {name[:80]!r}",
                hint=UNNAMED_FIRST if not name and position == 1 else UNUSABLE,
            )
        if name in seen:
            raise UnreadableData(
                f"two columns are called {name!r}, the second is column {position}",
                hint="Give each column its own name.",
            )
        seen.add(name)


def label_column(names: Sequence[str], given: str | None) -> str:
    """The given one, else the one that is called "label", else the last.

    Raises: UnreadableData where there is none of the given name.
    """
    if given is None:
        return LABEL if LABEL in names else names[-1]
    if given not in names:
        raise UnreadableData(
            f"there is no column {given!r} for the label; the columns are {shown(names)}",
            hint="Give ?label= one of them.",
        )
    return given


def label_note(names: Sequence[str], given: str | None) -> str:
    """Which column is the label, and whether it was chosen here."""
    chosen = label_column(names, given)
    if given is not None:
        return f"the label is the column {chosen!r}"
    reason = "the last" if chosen == names[-1] else "for its name"
    return f"the label is the column {chosen!r}, {reason}; another by ?label="


def shown(names: Sequence[str]) -> str:
    """The first of them, for people."""
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more
