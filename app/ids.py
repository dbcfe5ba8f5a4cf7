"""Opaque ids with a prefix that says what they name."""

import re
import secrets
import time

ID = re.compile(r"[a-z]{3}_[0-9a-f]{26}")


def new_id(prefix: str) -> str:
    """`<prefix>_` and 26 hex digits: 48 bits of milliseconds, 20 of nanoseconds, 36 random.

    So ids sort by age, also those that one process makes within a millisecond.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    return f"{prefix}_{milliseconds:012x}{nanoseconds:05x}{secrets.randbits(36):09x}"
