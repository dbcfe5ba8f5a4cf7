"""Mutations of bytes, whatever they mean."""

import struct
from collections.abc import Callable
from random import Random

from tests.fuzz.tokens import NUMBERS, WORDS

Mutation = Callable[[bytes, bytes, Random], bytes]
MAX_BYTES = 256 * 1024


def mutated(content: bytes, other: bytes, random: Random) -> bytes:
    """One mutation; `other` is a second file, to take pieces from."""
    return random.choice(MUTATIONS)(content, other, random)[:MAX_BYTES]


def flip_bits(content: bytes, other: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4, 25))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def set_bytes(content: bytes, other: bytes, random: Random) -> bytes:
    start, end = span(content, random)
    return content[:start] + random.randbytes(end - start) + content[end:]


def set_number(content: bytes, other: bytes, random: Random) -> bytes:
    width = random.choice((1, 2, 4, 4, 8, 8))
    if len(content) < width:
        return content
    at = random.randrange(len(content) - width + 1)
    if random.random() < 0.7:
        at -= at % width
    return content[:at] + number(width, random) + content[at + width :]


def add_to_number(content: bytes, other: bytes, random: Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    at = random.randrange(len(changed))
    changed[at] = (changed[at] + random.choice((-4, -2, -1, 1, 2, 4))) % 256
    return bytes(changed)


def cut_off(content: bytes, other: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def take_out(content: bytes, other: bytes, random: Random) -> bytes:
    start, end = span(content, random)
    return content[:start] + content[end:]


def repeat(content: bytes, other: bytes, random: Random) -> bytes:
    start, end = span(content, random)
    times = random.choice((2, 2, 3, 50))
    return content[:start] + content[start:end] * times + content[end:]


def put_word(content: bytes, other: bytes, random: Random) -> bytes:
    word = random.choice(WORDS)
    at = random.randrange(len(content) + 1)
    kept = at + len(word) if random.random() < 0.5 else at
    return content[:at] + word + content[kept:]


def splice(content: bytes, other: bytes, random: Random) -> bytes:
    start, end = span(other, random)
    into, until = span(content, random)
    return content[:into] + other[start:end] + content[until:]


def join(content: bytes, other: bytes, random: Random) -> bytes:
    at = random.randrange(min(len(content), len(other)) + 1)
    return content[:at] + other[at:]


def span(content: bytes, random: Random) -> tuple[int, int]:
    """A short stretch, now and then a long one."""
    length = min(len(content), random.choice((1, 2, 4, 8, 32, 256, len(content))))
    start = random.randrange(len(content) - length + 1)
    return start, start + length


def number(width: int, random: Random) -> bytes:
    value = random.choice(NUMBERS) % 256**width
    order = random.choice(("<", "<", "<", ">"))
    return struct.pack(f"{order}{ {1: 'B', 2: 'H', 4: 'L', 8: 'Q'}[width] }", value)


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, set_bytes, set_number, set_number, add_to_number, cut_off, take_out),
    *(repeat, put_word, put_word, splice, join),
)
