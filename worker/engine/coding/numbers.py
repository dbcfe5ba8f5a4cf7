"""Single whole numbers, each field with its own adaptive slots; bits that nothing is known of."""

import numpy as np

from worker.engine.coding.coder import EVEN, SLOT, ByteArray, IntArray, code_bit, learn
from worker.engine.coding.compiled import Whole, compiled
from worker.engine.coding.tables import LEAST, SCALE

# Of a size; of a number of a tensor: numbers are kept in 32 bits, and code relies on it.
MOST_BITS = 62
MOST_NUMBER = 1 << 30
# Slots of one field: by length, then for the bit behind the leading one by length.
FIELD_SLOTS = 64


@compiled
def code_slot(
    registers: IntArray, code: ByteArray, memory: IntArray, slot: Whole, bit: Whole
) -> Whole:
    """Code a bit by one slot alone. Returns it."""
    probability = min(max(memory[SLOT + slot] >> 16, LEAST), SCALE - LEAST)
    bit = code_bit(registers, code, probability, bit)
    learn(memory, slot, bit)
    return bit


@compiled
def code_size(
    registers: IntArray, code: ByteArray, memory: IntArray, slot: Whole, size: Whole
) -> Whole:
    """A whole number from 0: the length of `size + 1` in bits, then its bits. Returns it.

    Uses `FIELD_SLOTS` slots from `slot`.
    """
    value, length = size + 1, np.int64(0)
    while length < MOST_BITS and value >> (length + 1) > 0:
        length += 1
    reached = np.int64(0)
    while reached < MOST_BITS:
        longer = np.int64(length > reached)
        if code_slot(registers, code, memory, slot + min(reached, 31), longer) == 0:
            break
        reached += 1
    made = np.int64(1)
    for k in range(reached - 1, -1, -1):
        bit = (value >> k) & 1
        if k == reached - 1:
            bit = code_slot(registers, code, memory, slot + 32 + min(reached, 31), bit)
        else:
            bit = code_bit(registers, code, np.int64(EVEN), bit)
        made = (made << 1) | bit
    return made - 1


@compiled
def code_bits(registers: IntArray, code: ByteArray, values: IntArray, count: Whole) -> None:
    """The lowest `count` bits of each value, as they are."""
    for at in range(values.size):
        made = np.int64(0)
        for k in range(count - 1, -1, -1):
            bit = (values[at] >> k) & 1
            made = (made << 1) | code_bit(registers, code, np.int64(EVEN), bit)
        values[at] = made
