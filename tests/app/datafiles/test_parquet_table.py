"""Parquet tables: what is read, and what is refused before pyarrow has to know."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.datafiles import bounds, parquet_footer, parquet_table
from app.datafiles.parquet_table import open_parquet
from app.datafiles.unreadable import UnreadableData
from tests.app.datafiles.tables import ROWS, columns, parquet


def read(content: bytes) -> dict[str, Any]:
    """Each column as it is read."""
    table = open_parquet(io.BytesIO(content))
    return {
        name: np.concatenate([block.values[:, 0] for block in table.blocks([name])])
        for name in table.columns
    }


def refusal(content: bytes) -> str:
    with pytest.raises(UnreadableData) as caught:
        read(content)
    return str(caught.value)


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_open_parquet_reads_what_was_written(codec: str, version: str) -> None:
    content = parquet(compression=codec, data_page_version=version, row_group_size=15)
    for name, values in read(content).items():
        np.testing.assert_array_equal(values, columns()[name])
        assert values.dtype == columns()[name].dtype


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("how", [{}, {"use_dictionary": False}, {"write_page_checksum": True}])
def test_open_parquet_keeps_the_type_of_numbers(dtype: str, how: dict[str, Any]) -> None:
    values = (np.arange(ROWS) % 2).astype(dtype)
    found = read(parquet({"x": values, "y": columns()["kind"]}, **how))["x"]
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("held_bytes", [1, 2**17, 2**30])
def test_blocks_give_every_value_once_whatever_is_read_together(
    monkeypatch: pytest.MonkeyPatch, held_bytes: int
) -> None:
    monkeypatch.setattr(parquet_table, "HELD_BYTES", held_bytes)
    monkeypatch.setattr(parquet_table, "VALUES_AT_ONCE", 14)
    table = open_parquet(io.BytesIO(parquet(row_group_size=25)))
    names = ["kind", "a", "b"]
    values = np.full((ROWS, 3), -1.0)
    for block in table.blocks(names):
        rows, width = block.values.shape
        values[block.row : block.row + rows, block.column : block.column + width] = block.values
    np.testing.assert_array_equal(values, np.stack([columns()[name] for name in names], axis=1))


def test_columns_are_told_apart_where_one_seems_to_be_inside_of_another() -> None:
    numbers = np.arange(ROWS)
    found = read(parquet({"x": numbers, "x.1": numbers + 100, "x.1.y": numbers + 200}))
    assert [int(values[0]) for values in found.values()] == [0, 100, 200]


def test_common_type_is_that_of_numpy() -> None:
    table = open_parquet(io.BytesIO(parquet()))
    assert table.common_type(["a"]) == np.int16
    assert table.common_type(["a", "b"]) == np.float32
    assert table.common_type(["a", "b", "kind"]) == np.float64


def test_index_of_pandas_is_no_column() -> None:
    table = open_parquet(io.BytesIO(parquet({**columns(), "__index_level_0__": np.arange(ROWS)})))
    assert table.columns == ("a", "b", "kind")
    assert table.notes == ("columns not used: __index_level_0__",)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["a"] * ROWS, "column 'x' holds string"),
        ([b"a"] * ROWS, "column 'x' holds binary"),
        ([[1, 2]] * ROWS, "column 'x' holds lists or structures"),
        ([{"u": 1, "v": 2}] * ROWS, "column 'x' holds lists or structures"),
        (pa.array([[1, 2]] * ROWS, pa.list_(pa.int8(), 2)), "column 'x' holds lists or structures"),
        (pa.array([0] * ROWS, pa.timestamp("ms")), r"column 'x' holds timestamp[ms]"),
        (pa.array([0] * ROWS, pa.date32()), "column 'x' holds date32"),
        (pa.array([None] * ROWS), "column 'x' holds null"),
        (pa.array(["a"] * ROWS).dictionary_encode(), "column 'x' holds dictionary"),
        ([1] * 5 + [None] * (ROWS - 5), "row 6, column 'x' is empty"),
        ([1.0] * 7 + [np.nan] * (ROWS - 7), "row 8, column 'x' is NaN or infinite"),
        ([1.0] * (ROWS - 1) + [-np.inf], "row 40, column 'x' is NaN or infinite"),
    ],
)
def test_open_parquet_refuses_what_is_no_number(values: Any, why: str) -> None:
    assert why in refusal(parquet({"x": values, "y": columns()["kind"]}))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"x": np.arange(ROWS)}, "fewer than two columns"),
        ({"x": np.arange(ROWS), "": np.arange(ROWS)}, "column 2 has no usable name"),
        ({"x": np.arange(ROWS), "y\n": np.arange(ROWS)}, "column 2 has no usable name"),
        (pa.table([[1], [2]], names=["x", "x"]), "two columns are called 'x'"),
    ],
)
def test_open_parquet_refuses_columns_without_names(content: Any, why: str) -> None:
    assert why in refusal(parquet(content))


def test_open_parquet_refuses_other_codecs() -> None:
    assert refusal(parquet(compression="brotli")) == "column 'a' is compressed by brotli"


def test_open_parquet_refuses_a_codec_that_ends_pyarrow() -> None:
    content = parquet(compression="snappy")
    at = content.rindex(b"\x15\x02\x16\x50")  # codec: 1, num_values: 40, of the last column
    broken = content[:at] + b"\x15\x22" + content[at + 2 :]
    assert refusal(broken) == "column 'kind' is compressed by something unknown"


def test_open_parquet_refuses_a_table_that_a_few_bytes_blow_up() -> None:
    rows = 20_000_000
    content = parquet({"x": np.zeros(rows, np.int64), "y": np.zeros(rows, np.int8)})
    assert len(content) < 200_000
    assert f"would unpack to {rows * 9}, more than 200 times as much" in refusal(content)


def test_open_parquet_refuses_pages_that_a_few_bytes_blow_up() -> None:
    """Values that repeat, stored plainly, so that the codec alone makes them small."""
    rows = 5_000_000
    values = {"x": np.zeros(rows, np.int64), "y": np.zeros(rows, np.int64)}
    content = parquet(values, use_dictionary=False, compression="zstd")
    assert len(content) < 100_000
    assert "more than 200 times as much" in refusal(content)


def test_open_parquet_refuses_more_than_is_read_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_UNPACKED_BYTES", 100)
    assert "at most 100 are read" in refusal(parquet())


def test_open_parquet_counts_with_the_type_that_all_columns_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = {f"flag{place}": np.ones(ROWS, np.bool_) for place in range(9)}
    monkeypatch.setattr(bounds, "MAX_UNPACKED_BYTES", 10 * ROWS * 8 - 1)
    assert len(read(parquet({**flags, "y": np.ones(ROWS, np.float32)}))) == 10
    found = refusal(parquet({**flags, "y": np.ones(ROWS, np.float64)}))
    assert "the values would take 3200 bytes; at most 3199 are read" in found


def test_open_parquet_refuses_too_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_footer, "MAX_CHUNKS", 11)
    assert "4 row groups of 3 columns are more than 11" in refusal(parquet(row_group_size=10))


def test_open_parquet_refuses_pages_that_were_changed() -> None:
    content = bytearray(parquet(write_page_checksum=True, use_dictionary=False, compression="none"))
    content[content.index(columns()["b"].tobytes())] ^= 1
    assert "damaged" in refusal(bytes(content))


def test_open_parquet_refuses_fewer_rows_than_declared() -> None:
    content = parquet(use_dictionary=False)
    # Field 3 of the footer: 40, as zigzag; before it the schema, after it the row groups.
    at = content.rindex(b"\x16\x50\x19")
    assert "declares 39 rows, its row groups 40" in refusal(
        content[:at] + b"\x16\x4e\x19" + content[at + 3 :]
    )


@pytest.mark.parametrize("cut", [1, 4, 8, 60, 200])
def test_open_parquet_refuses_what_is_cut_off(cut: int) -> None:
    assert "cut off" in refusal(parquet()[:-cut])


@pytest.mark.parametrize("gone", [1, 8, 60, 200])
def test_open_parquet_refuses_what_lacks_a_piece(gone: int) -> None:
    assert "is said to lie outside of the file" in refusal(parquet()[:4] + parquet()[4 + gone :])


def test_open_parquet_refuses_what_is_encrypted() -> None:
    content = parquet()
    assert "encrypted" in refusal(b"PARE" + content[4:-4] + b"PARE")


@pytest.mark.parametrize("rounds", [600, pytest.param(50_000, marks=pytest.mark.hostile)])
def test_open_parquet_ends_in_a_refusal_whatever_is_changed(rounds: int) -> None:
    rng = np.random.default_rng(5)
    seeds = [parquet(), parquet(use_dictionary=False, data_page_version="2.0", row_group_size=11)]
    refused = 0
    for round_ in range(rounds):
        content = bytearray(seeds[round_ % 2])
        for at in rng.integers(0, len(content), rng.integers(1, 6)):
            content[at] = rng.integers(0, 256)
        try:
            read(bytes(content))
        except UnreadableData:
            refused += 1
    assert rounds > refused > rounds / 2
