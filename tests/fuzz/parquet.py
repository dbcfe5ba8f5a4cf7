"""Mutations of Parquet files: what their footer declares, the head of a page, the values in it."""

import struct
from random import Random

from app.datafiles.thrift import Kind
from tests.fuzz import plain
from tests.fuzz.thrift import BROKEN, change, mutated_thrift, read_struct, written

MAGIC = b"PAR1"
END_BYTES = 8
# By their numbers in the head of a page: unpacked, and as it is stored.
STORED_SIZE = 3
SIZES = ([2, Kind.I32], [STORED_SIZE, Kind.I32])


def mutated_parquet(content: bytes, other: bytes, random: Random) -> bytes:
    """The footer and the pages hang together as before, but for one thing."""
    if len(content) < 12 or not content.endswith(MAGIC) or random.random() < 0.1:
        return plain.mutated(content, other, random)
    length = struct.unpack_from("<L", content, len(content) - END_BYTES)[0]
    start = max(len(MAGIC), len(content) - END_BYTES - length)
    pages, footer = content[len(MAGIC) : start], content[start:-END_BYTES]
    match random.randrange(10):
        case 0:
            footer = plain.mutated(footer, other[-END_BYTES - length :], random)
        case 1 | 2 | 3 | 4:
            footer = mutated_thrift(footer, random)
        case _:
            pages = mutated_page(pages, random)
    return MAGIC + pages + footer + struct.pack("<L", len(footer)) + MAGIC


def mutated_page(pages: bytes, random: Random) -> bytes:
    """One page: its head, or its values; all bytes together are as many as before, mostly.

    The footer says where each column begins.
    """
    found = list(split(pages))
    if not found:
        return plain.mutated(pages, pages, random)
    at, middle, end = random.choice(found)
    before, after = pages[:at], pages[end:]
    head, _ = read_struct(pages, at)
    values = pages[middle:end]
    if random.random() < 0.5:
        change(head, random)
    else:
        values = plain.mutated(values, pages, random)
        for field in head:
            if field[:2] in SIZES and random.random() < 0.8:
                field[2] = len(values)
    page = written(head) + values
    if random.random() < 0.8:
        page = page[: end - at].ljust(end - at, b"\0")
    return before + page + after


def split(pages: bytes) -> list[tuple[int, int, int]]:
    """Where each page begins, where its values do, and where it ends, as far as they are pages."""
    found: list[tuple[int, int, int]] = []
    at = 0
    while at < len(pages):
        try:
            head, middle = read_struct(pages, at)
        except BROKEN:
            break
        sizes = [value for number, _, value in head if number == STORED_SIZE]
        if not sizes or not isinstance(sizes[0], int) or not 0 <= sizes[0] <= len(pages) - middle:
            break
        found.append((at, middle, middle + sizes[0]))
        at = middle + sizes[0]
    return found
