"""What a model is given where there is no data set."""

import keras
import numpy as np
import pytest

from app.recipes.facts import TensorSpec
from worker.engine.loading.models import input_specs
from worker.engine.loading.random_rows import random_rows
from worker.engine.loading.splits import Array
from worker.engine.loading.tokens import table_sizes


def rows(shape: tuple[int | None, ...], dtype: str, table_size: int | None = None) -> Array:
    spec = TensorSpec(name="x", shape=shape, dtype=dtype)
    return random_rows(spec, table_size, np.random.default_rng(1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_random_rows_of_real_numbers_are_standard_normal(dtype: str) -> None:
    found = rows((50,), dtype)
    assert found.dtype == dtype
    assert abs(found.mean()) < 0.05
    assert abs(found.std() - 1) < 0.05


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_random_rows_of_whole_numbers_are_those_of_every_vocabulary(dtype: str) -> None:
    found = rows((50,), dtype)
    assert found.dtype == dtype
    assert set(found.ravel()) == {0, 1}


def test_random_rows_of_bfloat16_are_those_of_a_data_set() -> None:
    assert rows((50,), "bfloat16").dtype == "float32"


def test_random_rows_fill_open_lengths() -> None:
    assert rows((None, 3), "float32").shape == (256, 16, 3)
    assert rows((None, None, 1), "uint8").shape == (256, 96, 96, 1)


@pytest.mark.parametrize(("table_size", "last"), [(1, 0), (5, 4), (100_000, 127)])
@pytest.mark.parametrize("dtype", ["int32", "float32", "int8", "float16"])
def test_random_rows_choose_among_the_rows_of_a_table(
    table_size: int, last: int, dtype: str
) -> None:
    found = rows((50,), dtype, table_size)
    assert found.dtype == dtype
    assert set(found.ravel()) == set(range(last + 1))


def test_table_sizes_are_those_of_the_smallest_embedding_that_an_input_goes_into() -> None:
    words, image = keras.Input((4,), name="words"), keras.Input((4,), name="image")
    large, small = (keras.layers.Embedding(size, 2)(words) for size in (9, 7))
    outputs = keras.layers.Flatten()(keras.layers.Add()([large, small]))
    model = keras.Model([words, image], keras.layers.Concatenate()([outputs, image]))

    assert table_sizes(model, input_specs(model)) == {"words": 7}
