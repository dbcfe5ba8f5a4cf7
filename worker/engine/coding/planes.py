"""Bytes of large dense tensors: each bit by one slot, chosen by how large what lies around is.

Much cheaper than `sheets`: no mixing, eight decisions a byte. What a plane holds is one byte of
every number of a tensor, so neighbours in a plane are neighbours in the tensor.
"""

import numpy as np

from worker.engine.coding.coder import SLOT, ByteArray, IntArray, Settings, code_bit, learn
from worker.engine.coding.compiled import Whole, compiled
from worker.engine.coding.tables import LEAST, SCALE

# By mode: how many contexts a byte is seen in.
ALONE, AROUND = range(2)
CONTEXTS = 12
SETTINGS = Settings(
    slots=CONTEXTS * 256,
    weight=0,
    fast_rate=0,
    slow_rate=0,
    most_uses=1000,
    refined_quarters=0,
    refinement_shift=0,
)


@compiled
def code_plane(
    registers: IntArray,
    code: ByteArray,
    memory: IntArray,
    plane: ByteArray,
    width: Whole,
    mode: Whole,
    first: Whole,
    last: Whole,
) -> None:
    """Code the bytes from `first` up to `last`; what lies above is `width` bytes before.

    A byte stands for a number from -128 to 127, moved up by 128.
    """
    for at in range(first, last):
        context = np.int64(0)
        if mode != 0:
            left = abs(np.int64(plane[at - 1]) - 128) if at > 0 else 0
            other = abs(np.int64(plane[at - 2]) - 128) if at > 1 else 0
            above = abs(np.int64(plane[at - width]) - 128) if at >= width else 0
            around = left + other + 2 * above
            while around > 0:
                context += 1
                around >>= 1
        node = np.int64(1)
        value = np.int64(plane[at])
        for k in range(7, -1, -1):
            slot = context * 256 + node
            probability = min(max(memory[SLOT + slot] >> 16, LEAST), SCALE - LEAST)
            bit = code_bit(registers, code, probability, (value >> k) & 1)
            learn(memory, slot, bit)
            node = node * 2 + bit
        plane[at] = node & 255
