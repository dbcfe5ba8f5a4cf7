"""Kernels found among constants, whatever conversion did to them."""

from typing import Any

import numpy as np
import pytest

from worker.engine.measuring.matching import find_kernel
from worker.engine.measuring.tflite_file import Tensor

RNG = np.random.default_rng(3)


def constant(values: Any) -> Tensor:
    stored = np.ascontiguousarray(values, np.float32)
    return Tensor(
        name="",
        shape=stored.shape,
        open_shape=stored.shape,
        type_name="FLOAT32",
        scale=np.empty(0, np.float32),
        zero_point=np.empty(0, np.int64),
        axis=0,
        raw=stored.reshape(-1).view(np.uint8),
    )


def random(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "stored"),
    [
        (dense := random(8, 5), dense.T),
        (conv := random(3, 3, 4, 6), conv.transpose(3, 0, 1, 2)),
        (conv1d := random(3, 4, 6), conv1d.transpose(2, 0, 1)[:, None]),
        (depthwise := random(3, 3, 4, 2), depthwise.reshape(1, 3, 3, 8)),
        (transposed := random(3, 3, 6, 4), transposed.transpose(2, 0, 1, 3)),
        (embedding := random(9, 4), embedding),
        (column := random(16, 1), column.T),
    ],
    ids=["dense", "conv", "conv1d", "depthwise", "transposed", "embedding", "one unit"],
)
def test_find_kernel_knows_the_layout_of_every_layer(kernel: Any, stored: Any) -> None:
    others = [constant(random(*stored.shape)), constant(random(stored.size))]
    wanted = constant(stored)
    assert find_kernel(kernel, [*others, wanted]) is wanted


def test_find_kernel_looks_past_a_factor_for_each_channel() -> None:
    kernel = random(8, 5)
    folded = constant(kernel.T * np.array([[2.0], [-0.1], [3.0], [1.0], [9.0]], np.float32))
    assert find_kernel(kernel, [constant(random(5, 8)), folded]) is folded


def test_find_kernel_looks_past_rounding() -> None:
    kernel = random(8, 5)
    rounded = constant(np.round(kernel.T * 20) / 20)
    assert find_kernel(kernel, [rounded]) is rounded


def test_find_kernel_finds_nothing_when_none_is_alike() -> None:
    assert find_kernel(random(8, 5), [constant(random(5, 8)), constant(random(8, 5))]) is None


def test_find_kernel_does_not_take_a_bias_for_a_kernel() -> None:
    assert find_kernel(random(16, 1), [constant(random(16))]) is None
