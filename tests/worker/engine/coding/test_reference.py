"""The compiled coder against the decoder that was written from docs/packed-format.md."""

import zlib

import numpy as np
import pytest

from tests.worker.engine.coding.reference import ArithmeticDecoder, SheetDecoder, SheetMixer, Slots
from worker.engine.coding.errors import PackedFileDamaged
from worker.engine.coding.sheets import Sheet
from worker.engine.coding.stream import Field, Stream
from worker.engine.coding.tables import rate_table, squash_table, stretch_table
from worker.engine.progress import never_cancelled


def numbers_of(rows: int, columns: int, spread: float) -> np.typing.NDArray[np.int32]:
    """Sparse, with dead rows and columns, some of them dense, a few numbers large."""
    rng = np.random.default_rng(rows)
    full = rng.random((rows, 1)) * rng.random((1, columns))
    numbers = np.rint(rng.normal(0, spread, (rows, columns))) * (rng.random(full.shape) < full)
    numbers[rng.random(rows) < 0.2] = 0
    numbers[:, rng.random(columns) < 0.2] = 0
    return numbers.astype(np.int32)


@pytest.mark.parametrize(
    ("shape", "strides", "spread"),
    [((24, 20), (1, 5), 1.5), ((30, 12), (2, 6), 3), ((16, 30), (1, 1), 40), ((1, 60), (1, 1), 2)],
)
def test_second_decoder_reads_the_same_numbers(
    shape: tuple[int, int], strides: tuple[int, int], spread: float
) -> None:
    numbers = numbers_of(*shape, spread) if shape[0] > 1 else numbers_of(2, shape[1], spread)[:1]
    stream = Stream.writing(never_cancelled)
    stream.number(Field.STRIDE, 1000, 1000)
    sheet = Sheet.blank(shape, strides, np.zeros(sum(shape), np.int64))
    sheet.fill(numbers)
    stream.sheet(sheet)
    decoder = ArithmeticDecoder(stream.finish())
    assert Slots(30).size(decoder, 64 * Field.STRIDE) == 1000
    again = SheetDecoder(SheetMixer(decoder), *shape, *strides).decode()
    assert again == numbers.tolist()


def test_both_decoders_refuse_a_number_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.array([[1, 1, -(2**31), 1]], np.int32)
    hints = np.zeros(5, np.int64)
    stream = Stream.writing(never_cancelled)
    sheet = Sheet.blank((1, 4), (1, 1), hints)
    sheet.fill(numbers)
    with monkeypatch.context() as forging:
        forging.setattr(Stream, "_check_numbers", lambda stream: None)
        stream.sheet(sheet)
    code = stream.finish()
    with pytest.raises(PackedFileDamaged, match="further from 0 than"):
        Stream.reading(code, never_cancelled).sheet(Sheet.blank((1, 4), (1, 1), hints))
    with pytest.raises(ValueError, match="allows"):
        SheetDecoder(SheetMixer(ArithmeticDecoder(code)), 1, 4, 1, 1).decode()


def test_tables_are_the_ones_that_version_1_means() -> None:
    """Rounded from formulas: a machine whose `exp` is off would write files of its own."""
    tables = (squash_table(), stretch_table(), rate_table())
    assert [zlib.crc32(table.astype("<i4").tobytes()) for table in tables] == [
        2606181068,
        4084022059,
        612100763,
    ]
