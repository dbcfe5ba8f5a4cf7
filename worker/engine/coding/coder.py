"""The binary arithmetic coder and the mixing of predictions, as compiled functions.

Every function here codes *and* decodes: the decoder is the coder with the bit left open, so the
two cannot drift apart. All arithmetic is in integers (docs/packed-format.md has the formulas).
State lies in flat arrays of whole numbers: numba compiles functions of those in half the time that
it takes for structures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.compiled import Whole, compiled
from worker.engine.coding.tables import (
    LEAST,
    LIMIT,
    MOST_USES,
    SCALE,
    rate_table,
    squash_table,
    stretch_table,
)

IntArray = NDArray[np.int64]
ByteArray = NDArray[np.uint8]

# Registers of the coder: the interval that is left, what was read of the code, where we are, and
# whether a number was met that no writer writes.
LOW, HIGH, CODE, POSITION, IS_DECODING, OVERRUN, DAMAGED = range(7)
REGISTER_BITS = 48
FULL = (1 << REGISTER_BITS) - 1
LAST_BYTE = REGISTER_BITS - 8
# Beyond its end a code reads as zeros; it never needs more of them than this.
MOST_OVERRUN = 8

# The memory of a mixer, part by part. First what the next bit is predicted from: how many slots
# are asked, how many log odds are given beside them, which weights and which refinement.
ASKED, GIVEN, FAST_SET, SLOW_SET, REFINEMENT = range(5)
# How it learns.
FAST_RATE, SLOW_RATE, MOST_COUNTED, QUARTERS, SHIFT = range(5, 10)
INPUTS, SETS, BUCKETS, REFINEMENTS = 16, 320, 34, 80
CONTEXT = 16
INPUT = CONTEXT + INPUTS
FAST = INPUT + INPUTS
SLOW = FAST + SETS * INPUTS
REFINED = SLOW + SETS * INPUTS
STRETCH = REFINED + REFINEMENTS * BUCKETS
SQUASH = STRETCH + SCALE
RATES = SQUASH + 2 * LIMIT + 1
SLOT = RATES + MOST_USES + 1

# A slot: 22 bits of probability above 10 bits that count its uses.
COUNT_BITS = 10
CERTAIN = 1 << 22
EDGE = 64
UNKNOWN_SLOT = (CERTAIN // 2) << COUNT_BITS
BUCKET_WIDTH = 176
WEIGHT_BITS = 20
EVEN = SCALE // 2


@dataclass(frozen=True)
class Settings:
    """How a mixer starts and learns.

    weight: of every input, `1 << WEIGHT_BITS` is 1. fast_rate, slow_rate: of the two sets of
    weights. most_uses: from there on a slot adapts no slower. refined_quarters: the share of the
    refinement; refinement_shift: its rate, as a power of one half.
    """

    slots: int
    weight: int
    fast_rate: int
    slow_rate: int
    most_uses: int
    refined_quarters: int
    refinement_shift: int


def fresh_memory(settings: Settings) -> IntArray:
    """Of a mixer that has learned nothing: every slot at one half, every weight alike."""
    memory = np.zeros(SLOT + settings.slots, np.int64)
    memory[FAST_RATE : SHIFT + 1] = (
        settings.fast_rate,
        settings.slow_rate,
        settings.most_uses,
        settings.refined_quarters,
        settings.refinement_shift,
    )
    memory[FAST:REFINED] = settings.weight
    squash = squash_table()
    buckets = np.clip(np.arange(BUCKETS) * BUCKET_WIDTH - (LIMIT + 1), -LIMIT, LIMIT)
    memory[REFINED:STRETCH] = np.tile(squash[buckets + LIMIT] << 6, REFINEMENTS)
    memory[STRETCH:SQUASH] = stretch_table()
    memory[SQUASH:RATES] = squash
    memory[RATES:SLOT] = rate_table()
    memory[SLOT:] = UNKNOWN_SLOT
    return memory


def writing_registers() -> IntArray:
    return np.array([0, FULL, 0, 0, 0, 0, 0], np.int64)


def reading_registers(code: ByteArray) -> IntArray:
    start = int.from_bytes(code[:6].tobytes().ljust(6, b"\0"), "big")
    return np.array([0, FULL, start, 6, 1, 0, 0], np.int64)


@compiled
def code_bit(registers: IntArray, code: ByteArray, probability: Whole, bit: Whole) -> Whole:
    """Code one bit that is 1 with a 16-bit probability. Returns it."""
    low, high = registers[LOW], registers[HIGH]
    middle = low + ((high - low) >> 16) * probability
    if registers[IS_DECODING] != 0:
        bit = np.int64(registers[CODE] <= middle)
    if bit != 0:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> LAST_BYTE == 0:
        position = registers[POSITION]
        if registers[IS_DECODING] == 0:
            code[position] = high >> LAST_BYTE
        elif position < code.size:
            registers[CODE] = ((registers[CODE] << 8) & FULL) | code[position]
        else:
            registers[CODE] = (registers[CODE] << 8) & FULL
            registers[OVERRUN] += 1
        registers[POSITION] = position + 1
        low = (low << 8) & FULL
        high = ((high << 8) & FULL) | 255
    registers[LOW] = low
    registers[HIGH] = high
    return bit


@compiled
def code_flag(registers: IntArray, code: ByteArray, memory: IntArray, bit: Whole) -> Whole:
    """Predict a bit from what `memory` was set to, code it, learn from it. Returns it."""
    asked = memory[ASKED]
    total = asked + memory[GIVEN]
    # Contexts follow from what a file says. All are within their bounds; were one not, compiled
    # code would write anywhere in memory.
    last = memory.size - SLOT - 1
    for k in range(asked):
        memory[CONTEXT + k] = min(max(memory[CONTEXT + k], 0), last)
        memory[INPUT + k] = memory[STRETCH + (memory[SLOT + memory[CONTEXT + k]] >> 16)]
    fast = FAST + memory[FAST_SET] * INPUTS
    slow = SLOW + memory[SLOW_SET] * INPUTS
    first: Whole = np.int64(0)
    second: Whole = np.int64(0)
    for k in range(total):
        given = memory[INPUT + k]
        first += memory[fast + k] * given
        second += memory[slow + k] * given
    first = min(max(first >> WEIGHT_BITS, -LIMIT), LIMIT)
    second = min(max(second >> WEIGHT_BITS, -LIMIT), LIMIT)
    bit = code_refined(registers, code, memory, (first + second) >> 1, bit)
    wrong_first = ((bit << 16) - memory[SQUASH + LIMIT + first]) * memory[FAST_RATE]
    wrong_second = ((bit << 16) - memory[SQUASH + LIMIT + second]) * memory[SLOW_RATE]
    for k in range(total):
        given = memory[INPUT + k]
        memory[fast + k] += (given * wrong_first) >> 20
        memory[slow + k] += (given * wrong_second) >> 20
    for k in range(asked):
        learn(memory, memory[CONTEXT + k], bit)
    return bit


@compiled
def code_refined(
    registers: IntArray, code: ByteArray, memory: IntArray, odds: Whole, bit: Whole
) -> Whole:
    """Correct the mixed prediction by how often it held in its bucket, and code with that."""
    place = odds + LIMIT + 1
    bucket = place // BUCKET_WIDTH
    share = place - bucket * BUCKET_WIDTH
    at = REFINED + memory[REFINEMENT] * BUCKETS + bucket
    refined = (memory[at] * (BUCKET_WIDTH - share) + memory[at + 1] * share) // BUCKET_WIDTH
    mixed = memory[SQUASH + LIMIT + odds] * (4 - memory[QUARTERS])
    probability = (mixed + (refined >> 6) * memory[QUARTERS]) >> 2
    bit = code_bit(registers, code, min(max(probability, LEAST), SCALE - LEAST), bit)
    if share > BUCKET_WIDTH // 2:
        at += 1
    memory[at] += ((bit << 22) - memory[at]) >> memory[SHIFT]
    return bit


@compiled
def learn(memory: IntArray, slot: Whole, bit: Whole) -> None:
    """Move a slot towards the bit it met."""
    state = memory[SLOT + slot]
    uses, probability = state & MOST_USES, state >> COUNT_BITS
    probability += (((bit << 22) - probability) * memory[RATES + uses]) >> 16
    probability = min(max(probability, EDGE), CERTAIN - EDGE)
    memory[SLOT + slot] = (probability << COUNT_BITS) | min(uses + 1, memory[MOST_COUNTED])


def finished(registers: IntArray, code: ByteArray) -> bytes:
    """What was written, with the fewest bytes that settle the last bits; zeros follow for ever."""
    low, high = int(registers[LOW]), int(registers[HIGH])
    content = code[: int(registers[POSITION])].tobytes()
    for kept in range(0, REGISTER_BITS + 1, 8):
        rest = REGISTER_BITS - kept
        value = high >> rest << rest
        if value >= low:
            return (content + (value >> rest).to_bytes(kept // 8, "big")).rstrip(b"\0")
    raise ValueError("the interval is empty: the coder's registers were changed from outside")
