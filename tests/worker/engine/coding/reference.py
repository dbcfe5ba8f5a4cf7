"""A second decoder of whole numbers, written from docs/packed-format.md in plain Python.

It has no numpy and no compiled code: what the page says is all that it knows.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field

LIMIT = 2815
SQUASH = {x: round(65536 / (1 + math.exp(-x / 256))) for x in range(-LIMIT, LIMIT + 1)}
RATE = [round(65536 / (n + 1.6)) for n in range(1024)]


def within(value: int, least: int, most: int) -> int:
    return max(least, min(most, value))


def stretch(p: int) -> int:
    return within(round(256 * math.log((p + 0.5) / (65535.5 - p))), -LIMIT, LIMIT)


class ArithmeticDecoder:
    """Section 2."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.low, self.high = 0, 2**48 - 1
        self.code = int.from_bytes(content[:6].ljust(6, b"\0"), "big")
        self.at = 6

    def bit(self, p: int) -> int:
        middle = self.low + ((self.high - self.low) >> 16) * p
        bit = int(self.code <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 40 == self.high >> 40:
            following = self.content[self.at] if self.at < len(self.content) else 0
            self.at += 1
            self.low = self.low << 8 & 2**48 - 1
            self.high = self.high << 8 & 2**48 - 1 | 255
            self.code = self.code << 8 & 2**48 - 1 | following
        return bit


class Slots:
    """Section 4: probabilities of 22 bits that remember how often they were used."""

    def __init__(self, most_uses: int) -> None:
        self.most_uses = most_uses
        self.states: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (2**21, 0))

    def probability(self, slot: int) -> int:
        return self.states[slot][0] >> 6

    def learn(self, slot: int, bit: int) -> None:
        p, n = self.states[slot]
        p = within(p + (((bit << 22) - p) * RATE[n] >> 16), 64, 2**22 - 64)
        self.states[slot] = p, min(n + 1, self.most_uses)

    def alone(self, decoder: ArithmeticDecoder, slot: int) -> int:
        bit = decoder.bit(within(self.probability(slot), 16, 65520))
        self.learn(slot, bit)
        return bit

    def size(self, decoder: ArithmeticDecoder, base: int) -> int:
        length = 0
        while length < 62 and self.alone(decoder, base + min(length, 31)):
            length += 1
        value = 1
        for k in range(length):
            first = k == 0
            bit = self.alone(decoder, base + 32 + min(length, 31)) if first else decoder.bit(32768)
            value = 2 * value + bit
        return value - 1


class SheetMixer:
    """Section 4, with the numbers of the row "sheets"."""

    def __init__(self, decoder: ArithmeticDecoder) -> None:
        self.decoder = decoder
        self.slots = Slots(250)
        self.fast: defaultdict[tuple[int, int], int] = defaultdict(lambda: 190_000)
        self.slow: defaultdict[tuple[int, int], int] = defaultdict(lambda: 190_000)
        row = [SQUASH[within(176 * k - 2816, -LIMIT, LIMIT)] << 6 for k in range(34)]
        self.rows: defaultdict[int, list[int]] = defaultdict(lambda: list(row))

    def flag(self, contexts: list[int], given: list[int], sets: tuple[int, int, int]) -> int:
        x = [stretch(self.slots.probability(slot)) for slot in contexts] + given
        dots = [
            within(sum(w[own, k] * x[k] for k in range(len(x))) >> 20, -LIMIT, LIMIT)
            for w, own in ((self.fast, sets[0]), (self.slow, sets[1]))
        ]
        m = (dots[0] + dots[1]) >> 1
        row, place = self.rows[sets[2]], m + 2816
        j, s = place // 176, place % 176
        refined = (row[j] * (176 - s) + row[j + 1] * s) // 176 >> 6
        bit = self.decoder.bit(within((SQUASH[m] * 3 + refined) >> 2, 16, 65520))
        nearer = j + 1 if s > 88 else j
        row[nearer] += ((bit << 22) - row[nearer]) >> 6
        for k, value in enumerate(x):
            self.fast[sets[0], k] += value * (((bit << 16) - SQUASH[dots[0]]) * 800) >> 20
            self.slow[sets[1], k] += value * (((bit << 16) - SQUASH[dots[1]]) * 200) >> 20
        for slot in contexts:
            self.slots.learn(slot, bit)
        return bit


@dataclass
class Tally:
    seen: int = 0
    count: int = 0
    sizes: int = 0
    signs: int = 0

    def add(self, number: int) -> None:
        self.seen += 1
        self.count += number != 0
        self.sizes += abs(number)
        self.signs += (number > 0) - (number < 0)

    def density(self) -> int:
        if self.count == 0:
            return sum(self.seen > least for least in (0, 3, 15, 63))
        return min(12, 5 + max(0, (256 * self.count // self.seen).bit_length() - 1))

    def mean(self) -> int:
        return within(4 * self.sizes // self.count - 3, 0, 15) if self.count else 0


def share(part: int, whole: int, prior: int, weight: int) -> int:
    return within(((part << 16) + weight * prior) // (whole + weight), 1, 65535)


@dataclass
class SheetDecoder:
    """Section 8, coder 0, of a matrix that is not transposed and has no hints."""

    mixer: SheetMixer
    rows: int
    columns: int
    near: int
    far: int
    numbers: dict[tuple[int, int], int] = field(default_factory=dict)

    def decode(self) -> list[list[int]]:
        alive_rows = self.alive(self.rows, 0, (self.near, self.far), 60)
        alive_columns = self.alive(self.columns, 256, (1, 2), 61)
        self.total = Tally()
        self.by_column = [Tally() for _ in range(self.columns)]
        for r in range(self.rows):
            self.row = Tally()
            for c in range(self.columns):
                if not (alive_rows[r] and alive_columns[c]):
                    continue
                number = self.numbers[r, c] = self.number(r, c)
                for tally in (self.total, self.by_column[c], self.row):
                    tally.add(number)
        return [[self.at(r, c) for c in range(self.columns)] for r in range(self.rows)]

    def alive(self, count: int, base: int, strides: tuple[int, int], own: int) -> list[int]:
        if self.rows == 1:
            return [1] * count
        near, far = strides
        flags: list[int] = []
        for at in range(count):
            k = 0
            for back in (near, far, far - near, far + near):
                k = 3 * k + (flags[at - back] if 0 < back <= at else 2)
            slots = [base, base + 8 + k, base + 96 + 8 * (k // 9)]
            flags.append(self.mixer.flag(slots, [], (own, own, own)))
        return flags

    def at(self, r: int, c: int) -> int:
        return self.numbers.get((r, c), 0)

    def number(self, r: int, c: int) -> int:
        left = [self.at(r, c - back) for back in (1, 2, 3)]
        differs = self.far - self.near if self.far > self.near else 2 * self.near
        up, far, corner, other, up2, far2 = (
            self.at(r - back, c)
            for back in (
                self.near, self.far, self.far + self.near, differs, 2 * self.near, 2 * self.far
            )
        )  # fmt: skip
        some = [int(n != 0) for n in (up, far, corner, other, up2, far2)]
        if not self.is_set(c, left, some, (up, far)):
            return 0
        signs = [0 if n == 0 else 1 if n > 0 else 2 for n in (up, far, corner, other, *left[:2])]
        is_positive = self.is_positive(c, signs)
        size = self.size(c, left, (up, far))
        return size if is_positive else -size

    def is_set(self, c: int, left: list[int], some: list[int], above: tuple[int, int]) -> int:
        row, column = self.row, self.by_column[c]
        in_row, in_column = row.density(), column.density()
        wide = 2 * some[0] + 2 * some[1] + sum(some[2:])
        before = sum(int(n != 0) << k for k, n in enumerate(left))
        around = sum(one << k for k, one in enumerate(some[:4]))
        few = 9 * min(abs(above[0]), 2) + 3 * min(abs(above[1]), 2) + min(abs(left[0]), 2)
        slots = [
            512,
            513 + 16 * in_row + in_column,
            769 + 8 * around + before,
            897 + few,
            924 + 16 * wide + in_column,
            1068 + 16 * before + in_row,
            1196 + in_column,
        ]
        overall = share(self.total.count + 1, self.total.seen + 4, 0, 0)
        by_row = stretch(share(row.count, row.seen, overall, 6))
        by_column = stretch(share(column.count, column.seen, overall, 6))
        given = [by_row, by_column, by_row + by_column - stretch(overall), 256]
        return self.mixer.flag(slots, given, (in_column, 16 + wide, in_column))

    def is_positive(self, c: int, signs: list[int]) -> int:
        row, column = self.row, self.by_column[c]
        g = ((signs[0] * 3 + signs[1]) * 3 + signs[2]) * 3 + signs[3]
        leaning = 9 * within(column.signs, -4, 4) + within(row.signs, -4, 4)
        slots = [2048 + g // 9, 2057 + 3 * signs[4] + signs[5], 2066 + g, 2188 + leaning, 2248]
        given = [
            stretch(share((tally.count + tally.signs) >> 1, tally.count, 32768, 3))
            for tally in (column, row)
        ]
        return self.mixer.flag(slots, [*given, 256], (40, 41, 40))

    def size(self, c: int, left: list[int], above: tuple[int, int]) -> int:
        u = [min(abs(n), 3) for n in (*above, *left[:2])]
        by_column, by_row = self.by_column[c].mean(), self.row.mean()
        bases = [
            2576 + 4 * u[0] + u[1],
            2768 + 4 * u[2] + u[3],
            2960 + by_column,
            3152 + by_row,
            3344 + 4 * (min(by_column, 7) // 2) + min(by_row, 7) // 2,
            3536,
        ]
        for size in range(1, 20):
            k = min(size - 1, 10)
            own = 42 + min(k, 5)
            slots = [2560 + k, *(base + 16 * k for base in bases)]
            if not self.mixer.flag(slots, [256], (own, own + 8, own)):
                return size
        size = 20 + self.mixer.slots.size(self.mixer.decoder, 3840)
        if size > 2**30:
            raise ValueError(f"a number has the size {size}; section 8 allows 2^30")
        return size
