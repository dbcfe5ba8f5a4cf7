"""Patterns over layer names: regular expressions that take linear time, whatever they are.

With Python's `re` one pattern of forty characters holds up the API for seconds and one of two
hundred for ever (nested repetition); RE2 has no such patterns (Cox 2007, swtch.com/~rsc/regexp).
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import re2

# A pattern comes from a client; what is wrong with it goes back there, not into our log.
OPTIONS = re2.Options()
OPTIONS.log_errors = False
# A longer program is refused: at RE2's own 8 MiB one pattern of ten characters takes 80 ms to make.
OPTIONS.max_mem = 128 * 1024
TOO_LARGE = "pattern too large"
# Of all steps of a recipe together.
MOST_PATTERNS = 256


@lru_cache(maxsize=2 * MOST_PATTERNS)
def compiled(pattern: str) -> Any:
    """Raises: ValueError with what is wrong."""
    try:
        return re2.compile(pattern, options=OPTIONS)
    except re2.error as error:
        reason = error.args[0]
        words = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        if words.startswith(TOO_LARGE):
            words = "it stands for too much; repeat less, or name fewer kinds of letters"
        raise ValueError(f"not a regular expression (RE2 syntax): {words}") from error


def matches(pattern: str, layer_name: str) -> bool:
    """Whether the pattern matches the whole name."""
    return compiled(pattern).fullmatch(layer_name) is not None


def matching(patterns: Iterable[str], layer_names: Sequence[str]) -> set[str]:
    """The names that some pattern matches; each pattern is looked up once, not once a name."""
    programs = map(compiled, patterns)
    return {name for one in programs for name in layer_names if one.fullmatch(name)}
