"""Which labels are classes and which are values."""

import pytest

from app.recipes.labels import label_encoding


@pytest.mark.parametrize(
    ("row_shape", "is_float", "is_binary", "is_one_hot", "encoding"),
    [
        ((), False, False, True, "integer"),
        ((), False, True, True, "integer"),
        ((1,), False, False, False, "integer"),
        ((5,), False, False, False, "integer"),
        ((5,), False, True, True, "one_hot"),
        ((5,), False, True, False, "multi_hot"),
        ((), True, False, False, "real"),
        ((), True, True, False, "integer"),
        ((4,), True, False, False, "real"),
        ((4,), True, True, True, "one_hot"),
        ((4,), True, True, False, "multi_hot"),
        ((9, 4), True, True, True, "one_hot"),
    ],
)
def test_label_encoding_follows_type_shape_and_values(
    row_shape: tuple[int, ...], is_float: bool, is_binary: bool, is_one_hot: bool, encoding: str
) -> None:
    assert (
        label_encoding(
            row_shape=row_shape, is_float=is_float, is_binary=is_binary, is_one_hot=is_one_hot
        )
        == encoding
    )
