"""How labels are encoded, from what was seen of their values; pure.

The door asks this of a file it streams through, the engine of the arrays it has loaded.
"""

from typing import Literal

Encoding = Literal["integer", "one_hot", "multi_hot", "real"]


def label_encoding(
    *, row_shape: tuple[int, ...], is_float: bool, is_binary: bool, is_one_hot: bool
) -> Encoding:
    """The encoding of one label array.

    Whole numbers stored as floats stay real values: prices and pixel positions look like that, and
    taking them for classes would refuse or mismeasure a regression. Zeros and ones are the
    exception, because Keras wants float labels for binary cross-entropy; where a regression is
    meant by them, the model's head says so.

    Args:
        row_shape: without the row axis; () and (1,) are one label a row.
        is_float: of the stored type.
        is_binary: every value is 0 or 1.
        is_one_hot: the last axis sums to 1 everywhere.
    """
    if is_binary and row_shape and row_shape[-1] > 1:
        return "one_hot" if is_one_hot else "multi_hot"
    return "real" if is_float and not is_binary else "integer"
