"""Kernels found in every kind of layer, with the meaning of their axes."""

from typing import Any

import keras
import pytest

from tests.builders import embedding_model, nested_model
from worker.engine.surgery.kernels import Kernel, NoKernel, kernels

LAYERS = keras.layers
PICTURE, SEQUENCE = (6, 6, 4), (6, 4)


def found(shape: tuple[int, ...], layer: Any) -> list[Kernel | NoKernel]:
    return list(kernels(keras.Sequential([keras.Input(shape), layer])))


@pytest.mark.parametrize(
    ("shape", "layer", "axes"),
    [
        ((4,), LAYERS.Dense(3, name="l"), {"l/kernel": (0,)}),
        (SEQUENCE, LAYERS.Conv1D(3, 2, name="l"), {"l/kernel": (0, 1)}),
        (PICTURE, LAYERS.Conv2D(3, 2, name="l"), {"l/kernel": (0, 1, 2)}),
        (PICTURE, LAYERS.Conv2DTranspose(3, 2, name="l"), {"l/kernel": (0, 1, 3)}),
        (PICTURE, LAYERS.DepthwiseConv2D(2, name="l"), {"l/kernel": (0, 1)}),
        (
            PICTURE,
            LAYERS.SeparableConv2D(3, 2, name="l"),
            {"l/depthwise_kernel": (0, 1), "l/pointwise_kernel": (0, 1, 2)},
        ),
        (
            SEQUENCE,
            LAYERS.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), name="l"),
            {"l/kernel": (0,)},
        ),
        (
            PICTURE,
            LAYERS.EinsumDense("abde,dec->abc", output_shape=(None, 3), name="l"),
            {"l/kernel": (0, 1)},
        ),
        (
            SEQUENCE,
            LAYERS.GRU(3, name="l"),
            {"l/kernel": (0,), "l/recurrent_kernel": (0,)},
        ),
        (
            SEQUENCE,
            LAYERS.TimeDistributed(LAYERS.Dense(3), name="l"),
            {"l/kernel": (0,)},
        ),
    ],
)
def test_kernels_reads_the_axes_of(
    shape: tuple[int, ...], layer: Any, axes: dict[str, tuple[int, ...]]
) -> None:
    given = {
        kernel.name: kernel.input_axes
        for kernel in found(shape, layer)
        if isinstance(kernel, Kernel)
    }

    assert given == axes


def test_kernels_finds_all_projections_of_attention() -> None:
    sequence = keras.Input(SEQUENCE)
    attended = LAYERS.MultiHeadAttention(2, 3, name="attention")(sequence, sequence)

    names = [kernel.layer_name for kernel in kernels(keras.Model(sequence, attended))]

    assert names == ["attention"] * 4


def test_kernels_walks_into_nested_models() -> None:
    names = [kernel.name for kernel in kernels(nested_model()) if isinstance(kernel, Kernel)]

    assert names == ["backbone/inner/kernel", "classes/kernel"]


def test_kernels_names_an_embedding_and_why_it_has_none() -> None:
    without = [item for item in kernels(embedding_model()) if isinstance(item, NoKernel)]

    assert without == [NoKernel("words", "an embedding table is looked up, not multiplied")]


def test_kernels_leaves_out_normalizations() -> None:
    assert found(PICTURE, LAYERS.BatchNormalization()) == []


def test_kernels_names_layers_that_were_adapted_by_lora() -> None:
    model = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3, name="l")])
    model.layers[0].enable_lora(2)
    assert list(kernels(model)) == [
        NoKernel("l", "with LoRA, its kernel is a sum of weights: train and save it without")
    ]
