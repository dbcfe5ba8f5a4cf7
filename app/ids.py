"""Opaque ids with a prefix that says what they name."""

import re
import secrets
import time
from collections.abc import Callable

ID = re.compile(r"[a-z]{3}_[0-9a-f]{26}")


def new_id(prefix: str, now_ns: Callable[[], int] = time.time_ns) -> str:
    """`<prefix>_` and 26 hex digits: 48 bits of milliseconds, 20 of nanoseconds, 36 random.

    So ids sort by age, as far as the clock tells them apart.
    """
    milliseconds, nanoseconds = divmod(now_ns(), 1_000_000)
    return f"{prefix}_{milliseconds:012x}{nanoseconds:05x}{secrets.randbits(36):09x}"
