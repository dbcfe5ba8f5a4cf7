"""Small whole numbers in few bytes, and back; traceable."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Packing:
    """`group` numbers below `radix` are the digits of one number, which takes `size` bytes.

    Of n numbers in m groups, digit i of group j is number i m + j, so that whole stretches are
    added at once. The first digit is the most significant, and so is the first byte.
    """

    radix: int
    group: int
    size: int

    def packed_bytes(self, count: int) -> int:
        return -(-count // self.group) * self.size

    def pack(self, numbers: Any, count: int) -> Any:
        """numbers: [count], integers. Returns: uint8, [packed_bytes(count)]."""
        padded = tf.pad(tf.cast(numbers, self._dtype), [[0, -count % self.group]])
        digits = tf.unstack(tf.reshape(padded, [self.group, -(-count // self.group)]))
        places = [tf.constant(place, self._dtype) for place in self._places()]
        whole = tf.add_n([digit * place for digit, place in zip(digits, places, strict=True)])
        if self.size == 1:
            return tf.cast(whole, tf.uint8)
        shifted = tf.bitwise.right_shift(whole[:, tf.newaxis], self._shifts())
        return tf.reshape(tf.cast(tf.bitwise.bitwise_and(shifted, 255), tf.uint8), [-1])

    def unpack(self, packed: Any, count: int) -> Any:
        """packed: uint8, [packed_bytes(count)]. Returns: int32, [count]."""
        if self.size == 1:
            index = tf.cast(packed, tf.int32)
            # Tables: dividing each byte by the radix takes many times as long.
            digits = [tf.gather(tf.constant(table), index) for table in self._digits_of_bytes()]
        else:
            parts = tf.cast(tf.reshape(packed, [-1, self.size]), tf.int64)
            whole = tf.reduce_sum(tf.bitwise.left_shift(parts, self._shifts()), axis=1)
            digits = [self._digit(whole, place) for place in self._places()]
        return tf.concat(digits, axis=0)[:count]

    def _digit(self, whole: Any, place: int) -> Any:
        """Of numbers whose radix is a power of two."""
        shifted = tf.bitwise.right_shift(whole, tf.constant(place.bit_length() - 1, tf.int64))
        return tf.cast(tf.bitwise.bitwise_and(shifted, self.radix - 1), tf.int32)

    @property
    def _dtype(self) -> tf.DType:
        return tf.int32 if self.size == 1 else tf.int64

    def _places(self) -> list[int]:
        """What each digit counts for."""
        return [self.radix**power for power in reversed(range(self.group))]

    def _shifts(self) -> Any:
        return tf.constant([8 * byte for byte in reversed(range(self.size))], tf.int64)

    def _digits_of_bytes(self) -> Any:
        """int32, [group, 256]."""
        places = np.array(self._places())[:, np.newaxis]
        return (np.arange(256) // places % self.radix).astype(np.int32)


# By bits of a symbol. Two bits hold three levels: five of those fit into a byte, not four.
OF_SYMBOLS = {
    1: Packing(radix=2, group=8, size=1),
    2: Packing(radix=3, group=5, size=1),
    3: Packing(radix=8, group=8, size=3),
    4: Packing(radix=16, group=2, size=1),
    5: Packing(radix=32, group=8, size=5),
    6: Packing(radix=64, group=4, size=3),
    7: Packing(radix=128, group=8, size=7),
    8: Packing(radix=256, group=1, size=1),
}


def of_places(count: int) -> Packing:
    """For indices below `count`: whole bytes, as few as do."""
    size = max(1, (max(count - 1, 1).bit_length() + 7) // 8)
    return Packing(radix=256**size, group=1, size=size)
