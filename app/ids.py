"""Opaque ids with a prefix that says what they name."""

import secrets
import time


def new_id(prefix: str) -> str:
    """`<prefix>_` and 26 hex digits: 48 bits of time, so that ids sort by age, 56 random."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(7)}"
