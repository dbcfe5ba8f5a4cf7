"""What coders make of the same integers: those of a packed or `.keras` file, tensor by tensor.

    python -m benchmarks.numbers.coders FILE...

Integers are those of tensors that lie on a grid or a palette, told or seen; other tensors are left
out on all sides. All figures are bytes of weights alone, without architecture, scales and biases
off a grid; `ours` decodes to the same integers, the others are coded or, where they say so, counted
(static arithmetic: entropy by tensor plus a table; DeepCABAC: Wiedemann et al. 2020, adaptive
contexts for zero, sign and unary size by the two neighbours before, exponential Golomb beyond).
"""

import gzip
import heapq
import lzma
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.engine.coding.forms import Form, forms_of
from worker.engine.coding.keras_archive import KerasArchive
from worker.engine.coding.matrices import arrangements_of, code_numbers
from worker.engine.coding.stream import Stream
from worker.engine.coding.unpacking import unpack
from worker.engine.progress import never_cancelled

Numbers = NDArray[np.int32]
# A table of a static coder: a symbol and its length or count.
BITS_OF_A_SYMBOL = 16
# The two rates whose mean VVC and NNC code with.
FAST, SLOW = 1 / 32, 1 / 256


def main(files: Iterable[str]) -> None:
    for name in files:
        tensors = integers_of(Path(name))
        total = sum(numbers.size for numbers in tensors)
        print(f"{name}: {len(tensors)} tensors, {total} integers")
        for coder, size in sizes(tensors).items():
            print(f"  {coder:24} {size:9d} bytes")


def integers_of(path: Path) -> list[Numbers]:
    """The whole numbers of a file's tensors, those without any left out."""
    with tempfile.TemporaryDirectory() as folder:
        keras_path = path
        if path.suffix == ".packed":
            keras_path = Path(folder) / "model.keras"
            unpack(path.read_bytes(), keras_path, never_cancelled)
        archive = KerasArchive.read(keras_path)
    if archive is None:
        raise SystemExit(f"{path} has other members than a plain Keras model")
    found = []
    for place in archive.places() or []:
        form = next(forms_of(archive.tensor(place), None), None) if place.size_bytes else None
        if form and form.numbers is not None and form.form is not Form.SPARSE:
            found.append(form.numbers)
    return found


def sizes(tensors: list[Numbers]) -> dict[str, int]:
    flat = [numbers.reshape(-1) for numbers in tensors]
    joined = np.concatenate(flat)
    plain = joined.astype(np.int8 if abs(joined).max() < 128 else np.int32).tobytes()
    made = {
        "u8 + gzip": len(gzip.compress(plain, 9)),
        "index deltas + lzma": sum(len(_raw_lzma(_delta_bytes(numbers))) for numbers in flat),
        "Huffman of both": sum(_huffman_bytes(numbers) for numbers in flat),
        "static arithmetic": sum(_static_bytes(numbers) for numbers in flat),
        "DeepCABAC-like": sum(_cabac_bytes(numbers) for numbers in flat),
        "ours": _our_bytes(tensors),
    }
    if find_spec("zstandard"):
        zstandard = import_module("zstandard")
        return {"u8 + zstd 19": len(zstandard.ZstdCompressor(19).compress(plain)), **made}
    return {"u8 + lzma": len(_raw_lzma(plain)), **made}


def _raw_lzma(content: bytes) -> bytes:
    chain = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "pb": 0}]
    return lzma.compress(content, lzma.FORMAT_RAW, filters=chain)


def _deltas(numbers: Numbers, most: int) -> tuple[list[int], list[int]]:
    """Runs of zeros before each non-zero, in pieces of at most `most`, and the non-zeros."""
    places = np.flatnonzero(numbers)
    runs: list[int] = []
    for run in np.diff(places, prepend=-1) - 1:
        runs += [most] * (int(run) // most) + [int(run) % most]
    return runs, numbers[places].tolist()


def _delta_bytes(numbers: Numbers) -> bytes:
    runs, values = _deltas(numbers, 255)
    return bytes(runs) + np.array(values, np.int8).tobytes()


def _huffman_bytes(numbers: Numbers) -> int:
    """Deep Compression's: runs and values with a Huffman code each, the best size of a run."""
    best = math.inf
    for bits in range(2, 11):
        best = min(best, sum(_huffman_bits(part) for part in _deltas(numbers, (1 << bits) - 1)))
    return math.ceil(best / 8)


def _huffman_bits(symbols: list[int]) -> int:
    counts = Counter(symbols)
    heap = list(counts.values())
    heapq.heapify(heap)
    bits = len(symbols) if len(heap) == 1 else 0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        bits += both
        heapq.heappush(heap, both)
    # A canonical code needs each symbol and the length of its word.
    return bits + 8 * len(counts)


def _static_bytes(numbers: Numbers) -> int:
    _, counts = np.unique(numbers, return_counts=True)
    share = counts / max(1, numbers.size)
    bits = -float((counts * np.log2(share)).sum()) + BITS_OF_A_SYMBOL * counts.size
    return math.ceil(bits / 8)


def _cabac_bytes(numbers: Numbers) -> int:
    """Counted: what an ideal coder takes with the probabilities of these contexts."""
    contexts: dict[tuple[str, int], tuple[float, float]] = {}
    bits = 0.0
    before = [0, 0]
    for number in numbers.tolist():
        near = (before[0] != 0) + (before[1] != 0)
        bits += _adaptive_bits(contexts, ("zero", near), number != 0)
        if number:
            bits += _adaptive_bits(contexts, ("sign", 0), number > 0)
            size = abs(number)
            for k in range(1, min(size, 10) + 1):
                bits += _adaptive_bits(contexts, ("more", k), size > k)
            bits += 2 * (size - 9).bit_length() - 1 if size > 10 else 0
        before = [number, before[0]]
    return math.ceil(bits / 8)


def _adaptive_bits(
    contexts: dict[tuple[str, int], tuple[float, float]], context: tuple[str, int], bit: bool
) -> float:
    fast, slow = contexts.get(context, (0.5, 0.5))
    contexts[context] = fast + (bit - fast) * FAST, slow + (bit - slow) * SLOW
    p = (fast + slow) / 2
    return -math.log2(p if bit else 1 - p)


def _our_bytes(tensors: list[Numbers]) -> int:
    stream = Stream.writing(never_cancelled)
    for numbers in tensors:
        options = list(arrangements_of(numbers))
        tried = []
        for arrangement in options:
            trial = stream.fork()
            code_numbers(trial, numbers.shape, numbers, arrangement)
            tried.append(trial.position)
        best = options[tried.index(min(tried))]
        code_numbers(stream, numbers.shape, numbers, best)
    return len(stream.finish())


if __name__ == "__main__":
    main(sys.argv[1:])
