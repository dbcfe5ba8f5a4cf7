"""Structures in Thrift's compact protocol."""

import pytest

from app.datafiles.thrift import Malformed, Reader


def read(content: bytes, max_values: int = 1000) -> dict[int, object]:
    return Reader(content, max_values).struct()


def test_struct_reads_every_kind_of_value() -> None:
    content = (
        b"\x15\x03"  # 1: i32, zigzag 3 = -2
        b"\x16\xac\x02"  # 2: i64, varint 300 = 150
        b"\x18\x02hi"  # 3: bytes
        b"\x11"  # 4: true
        b"\x12"  # 5: false
        b"\x19\x25\x02\x04"  # 6: list of two i32
        b"\x1c\x15\x02\x00"  # 7: a structure with 1: 1
        b"\x13\x07"  # 8: a byte
        b"\x17" + bytes(8) + b"\x05\x28\x0a"  # 9: a double; then 20: i32, 5, its number written out
        b"\x00"
    )
    assert read(content) == {
        1: -2,
        2: 150,
        3: b"hi",
        4: True,
        5: False,
        6: [1, 2],
        7: {1: 1},
        8: 7,
        9: bytes(8),
        20: 5,
    }


def test_struct_reads_lists_of_booleans_and_long_lists() -> None:
    assert read(b"\x19\x21\x01\x02\x00") == {1: [True, False]}
    assert read(b"\x19\xf5\x10" + b"\x02" * 16 + b"\x00") == {1: [1] * 16}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cut off"),
        (b"\x15", "cut off"),
        (b"\x18\x7fabc", "cut off"),
        (b"\x15" + b"\xff" * 11, "an endless number"),
        (b"\x1b\x00\x00", "a value of kind 11"),
        (b"\x1c" * 40, "nested too deeply"),
        (b"\x19\x19" * 40, "nested too deeply"),
        (b"\x15\x02\x05\x02\x04\x00", "a field twice"),
        (b"\x19\xfc\xff\xff\xff\xff\x0f\x00", "a list that is longer than what follows"),
    ],
)
def test_struct_refuses(content: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read(content)


def test_struct_reads_no_more_values_than_it_is_told() -> None:
    content = b"\x19\xfc\xe8\x07" + bytes(1000) + b"\x00"
    assert read(content, max_values=1001) == {1: [{}] * 1000}
    with pytest.raises(Malformed, match="too many values"):
        read(content, max_values=1000)
