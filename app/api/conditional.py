"""Conditional requests, kinds of content (RFC 9110) and preferences (RFC 7240)."""

import re

MOST_WAIT_S = 60.0


def none_match(if_none_match: str | None, etag: str) -> bool:
    """Whether a GET is to be answered in full; tags are compared weakly."""
    if if_none_match is None:
        return True
    if if_none_match.strip() == "*":
        return False
    known = re.findall(r'(?:W/)?("[^"]*")', if_none_match)
    return etag.removeprefix("W/") not in known


def wants_json(accept: str | None, *, rather_than: str) -> bool:
    """Whether JSON is asked for, and the other kind of content is not."""
    return "application/json" in (accept or "") and rather_than not in (accept or "")


def preferred_wait_s(prefer: str | None) -> float | None:
    """Seconds of `Prefer: wait=<seconds>`, at most a minute; None where it is not asked for."""
    for preference in (prefer or "").split(","):
        found = re.fullmatch(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;.*)?", preference, re.IGNORECASE)
        if found:
            return min(float(found[1]), MOST_WAIT_S)
    return None
