"""Patterns over layer names: regular expressions that take linear time, whatever they are.

With Python's `re` one pattern of forty characters holds up the API for seconds and one of two
hundred for ever (nested repetition); RE2 has no such patterns (Cox 2007, swtch.com/~rsc/regexp).
"""

from functools import lru_cache
from typing import Any

import re2

# A pattern comes from a client; what is wrong with it goes back there, not into our log.
OPTIONS = re2.Options()
OPTIONS.log_errors = False


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Raises: ValueError with what is wrong."""
    try:
        return re2.compile(pattern, options=OPTIONS)
    except re2.error as error:
        reason = error.args[0]
        words = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"not a regular expression (RE2 syntax): {words}") from error


def matches(pattern: str, layer_name: str) -> bool:
    """Whether the pattern matches the whole name."""
    return compiled(pattern).fullmatch(layer_name) is not None
