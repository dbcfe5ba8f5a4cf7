"""Text, byte by byte, from what followed the same bytes before: in it, and in the dictionary.

Predictions of eight orders are mixed as in lpaq (Mahoney 2007). The model has read the dictionary
before the text begins, so what every Keras configuration has in common costs next to nothing.
"""

from functools import cache
from pathlib import Path

import numpy as np

from worker.engine.coding.coder import (
    ASKED,
    CONTEXT,
    FAST_SET,
    GIVEN,
    INPUT,
    REFINEMENT,
    SLOW_SET,
    ByteArray,
    IntArray,
    Settings,
    code_flag,
    fresh_memory,
    writing_registers,
)
from worker.engine.coding.compiled import Whole, compiled
from worker.engine.coding.stream import Stream

DICTIONARY = Path(__file__).with_name("dictionary.txt")
HASH_BITS = 18
ORDERS = 7
FIRST_HASHED = 512
SETTINGS = Settings(
    slots=FIRST_HASHED + (1 << HASH_BITS),
    weight=310_000,
    fast_rate=1600,
    slow_rate=300,
    most_uses=1000,
    refined_quarters=2,
    refinement_shift=6,
)
# A match is looked for by this many bytes, in a table of this many places.
LEAST_MATCH, MOST_MATCH = 7, 40
PLACE_BITS = 16
WORD_32 = 0xFFFFFFFF
MIX_A, MIX_B, MIX_C = 0x2F0B4C47, 0x1E35A7BD, 0x9E3779B1
# The model's own registers: where the match is, how long it was, the word so far.
MATCH_AT, MATCH_LENGTH, WORD = range(3)
BYTE_SETS = 16
# Bytes that go through the compiled loop at a time; none takes more than 8 times 12 bits.
PART = 1 << 12
MOST_BYTES_A_BYTE = 12


class TextModel:
    """A model that has read the dictionary; it codes one text behind it."""

    def __init__(self, room: int) -> None:
        dictionary = dictionary_bytes()
        self._start = dictionary.size
        self._text = np.zeros(dictionary.size + room, np.uint8)
        self._text[: dictionary.size] = dictionary
        learned = _after_dictionary()
        self._memory, self._places, self._own, self._hashes = (part.copy() for part in learned)

    def code(self, stream: Stream, text: bytes | None) -> bytes:
        """Code the text, or read it where none is given. Returns it."""
        if text is not None:
            self._text[self._start :] = np.frombuffer(text, np.uint8)
        model = (self._memory, self._text, self._places, self._own, self._hashes)
        for first in range(self._start, self._text.size, PART):
            stream.check()
            last = min(first + PART, self._text.size)
            stream.make_room(MOST_BYTES_A_BYTE * (last - first))
            _code_text(stream.registers, stream.code, *model, first, last)
        return self._text[self._start :].tobytes()


@cache
def dictionary_bytes() -> ByteArray:
    return np.frombuffer(DICTIONARY.read_bytes(), np.uint8)


@cache
def _after_dictionary() -> tuple[IntArray, IntArray, IntArray, IntArray]:
    text = dictionary_bytes().copy()
    memory, places = fresh_memory(SETTINGS), np.zeros(1 << PLACE_BITS, np.int64)
    own, hashes = np.zeros(3, np.int64), np.zeros(ORDERS + 1, np.int64)
    room = np.zeros(2 * text.size + 16, np.uint8)
    _code_text(writing_registers(), room, memory, text, places, own, hashes, 0, text.size)
    return memory, places, own, hashes


@compiled
def _code_text(
    registers: IntArray,
    code: ByteArray,
    memory: IntArray,
    text: ByteArray,
    places: IntArray,
    own: IntArray,
    hashes: IntArray,
    first: Whole,
    last: Whole,
) -> None:
    for at in range(first, last):
        _hash_orders(text, own, hashes, at)
        _find_match(text, places, own, at)
        byte = _code_byte(registers, code, memory, text, own, hashes, at)
        text[at] = byte
        match = own[MATCH_AT]
        if own[MATCH_LENGTH] > 0 and text[match] == byte:
            own[MATCH_AT] = match + 1
            own[MATCH_LENGTH] += 1
        else:
            own[MATCH_LENGTH] = 0
        is_word = byte >= 97 or (byte >= 48 and byte < 58) or (byte >= 65 and byte < 91)
        if is_word:
            own[WORD] = (own[WORD] * MIX_A + byte + 1) & WORD_32
        elif byte != 32:
            own[WORD] = byte + 1


@compiled
def _hash_orders(text: ByteArray, own: IntArray, hashes: IntArray, at: Whole) -> None:
    """The contexts of a byte: the last 1, 2, 3, 4, 6 bytes, and the word so far."""
    value, order = np.int64(0), np.int64(0)
    for back in range(1, 7):
        last = np.int64(text[at - back]) if at >= back else 0
        value = ((value + last + 1) * MIX_A) & WORD_32
        value ^= value >> 15
        if back != 5:
            order += 1
            hashes[order] = value + order
    hashes[6] = (own[WORD] * MIX_B + 6) & WORD_32


@compiled
def _find_match(text: ByteArray, places: IntArray, own: IntArray, at: Whole) -> None:
    """Look for the last place where the same bytes came before; note this one."""
    if at < LEAST_MATCH:
        return
    value = np.int64(0)
    for back in range(1, LEAST_MATCH + 1):
        value = (value * MIX_A + text[at - back] + 1) & WORD_32
    place = (value ^ (value >> 15)) & ((1 << PLACE_BITS) - 1)
    if own[MATCH_LENGTH] == 0:
        found, length = places[place], np.int64(0)
        while length < min(found, MOST_MATCH) and text[found - 1 - length] == text[at - 1 - length]:
            length += 1
        own[MATCH_AT] = found
        own[MATCH_LENGTH] = length if length >= LEAST_MATCH else 0
    places[place] = at


@compiled
def _code_byte(
    registers: IntArray,
    code: ByteArray,
    memory: IntArray,
    text: ByteArray,
    own: IntArray,
    hashes: IntArray,
    at: Whole,
) -> Whole:
    length = own[MATCH_LENGTH]
    trust = np.int64(length > 0) + (length > 9) + (length > 15) + (length > 23) + (length > 31)
    expected = np.int64(text[own[MATCH_AT]]) + 256
    byte, node = np.int64(text[at]), np.int64(1)
    for k in range(7, -1, -1):
        if expected >> (k + 1) != node:
            trust = np.int64(0)
        foreseen = trust * 2 + ((expected >> k) & 1 if trust > 0 else 0)
        memory[CONTEXT] = node
        for order in range(1, ORDERS):
            value = ((hashes[order] + node * MIX_C) & WORD_32) * MIX_B & WORD_32
            memory[CONTEXT + order] = FIRST_HASHED + (value >> (32 - HASH_BITS))
        memory[CONTEXT + ORDERS] = 256 + foreseen
        memory[INPUT + ORDERS + 1] = 256
        memory[ASKED], memory[GIVEN] = ORDERS + 1, 1
        memory[FAST_SET], memory[SLOW_SET] = trust, BYTE_SETS + node
        memory[REFINEMENT] = foreseen
        node = node * 2 + code_flag(registers, code, memory, (byte >> k) & 1)
    return node & 255
