"""Small networks of one kind of layer each, one after the other.

A table at the end says how many units each group has.
"""

from typing import Any

import keras

from tests.worker.engine.surgery.channels.nets.common import PICTURE, SEQUENCE, Counts, Net, chain

layers = keras.layers


def lenet() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, activation="tanh", name="c1"),
        layers.AveragePooling2D(2),
        layers.Conv2D(8, 2, activation="relu", name="c2"),
        layers.Flatten(),
        layers.Dense(10, activation="sigmoid", name="d1"),
    )


def separable() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.SeparableConv2D(8, 3, depth_multiplier=2, activation="relu", name="s"),
        layers.GlobalAveragePooling2D(),
    )


def separable_1d() -> Any:
    return chain(
        SEQUENCE,
        layers.Conv1D(6, 2, padding="causal", name="c"),
        layers.SeparableConv1D(8, 2, name="s"),
        layers.GlobalMaxPooling1D(),
    )


def depthwise() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, use_bias=False, name="c"),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="dw"),
        layers.BatchNormalization(scale=False),
        layers.ReLU(6.0),
        layers.Conv2D(8, 1, name="p"),
        layers.Flatten(),
    )


def depthwise_1d() -> Any:
    return chain(
        SEQUENCE,
        layers.Conv1D(6, 2, name="c"),
        layers.DepthwiseConv1D(2, activation="relu", name="dw"),
        layers.Flatten(),
    )


def volumes() -> Any:
    return chain(
        (5, 5, 5, 2),
        layers.Conv3D(6, 2, name="c"),
        layers.ZeroPadding3D(1),
        layers.UpSampling3D(),
        layers.Cropping3D(3),
        layers.Conv3DTranspose(8, 2, name="t"),
        layers.GlobalAveragePooling3D(),
    )


def transposed() -> Any:
    return chain(
        PICTURE,
        layers.Conv2DTranspose(6, 3, strides=2, name="t1"),
        layers.UpSampling2D(interpolation="bilinear"),
        layers.Conv2DTranspose(8, 3, use_bias=False, name="t2"),
        layers.Cropping2D(3),
        layers.GlobalMaxPooling2D(keepdims=True),
        layers.Flatten(),
    )


def transposed_1d() -> Any:
    return chain(
        SEQUENCE,
        layers.Conv1DTranspose(6, 2, name="t"),
        layers.ZeroPadding1D(1),
        layers.UpSampling1D(),
        layers.Cropping1D(1),
        layers.Flatten(),
    )


def in_groups() -> Any:
    """Two groups of 3 inputs and 4 outputs: what goes, goes from both groups."""
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.Conv2D(8, 3, groups=2, name="g"),
        layers.GlobalAveragePooling2D(),
    )


def in_groups_of_one() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.Conv2D(12, 3, groups=6, name="g"),
        layers.GlobalAveragePooling2D(),
    )


def prelu() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.PReLU(name="own"),
        layers.Conv2D(8, 3, name="d"),
        layers.PReLU(shared_axes=[1, 2], name="shared"),
        layers.Flatten(),
    )


def activations() -> Any:
    return chain(
        (5,),
        layers.Dense(8, activation="silu", name="a"),
        layers.Activation("softplus"),
        layers.LeakyReLU(),
        layers.Dense(8, activation=layers.LeakyReLU(0.3), name="b"),
        layers.ELU(),
        layers.GaussianNoise(0.1),
        layers.Dropout(0.5),
        layers.AlphaDropout(0.1),
        layers.ActivityRegularization(0.1),
        layers.Rescaling(0.5, 0.1),
    )


def spatial_dropout() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="c"),
        layers.SpatialDropout2D(0.5),
        layers.ZeroPadding2D(1),
        layers.Dropout(0.5, noise_shape=(None, 1, 1, None)),
        layers.MaxPooling2D(),
        layers.Flatten(),
    )


def group_norm() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(8, 3, name="c"),
        layers.GroupNormalization(4, name="norm"),
        layers.Conv2D(6, 3, name="d"),
        layers.GroupNormalization(-1, center=False, name="instance"),
        layers.Flatten(),
    )


def renormalized() -> Any:
    return chain(
        SEQUENCE,
        layers.Dense(8, name="a"),
        layers.LayerNormalization(name="layer"),
        layers.Dense(7, name="b"),
        layers.RMSNormalization(name="rms"),
        layers.Dense(6, name="c"),
        layers.GroupNormalization(1, name="group"),
        layers.Flatten(),
    )


def norm_of_steps() -> Any:
    """Normalizes over the steps: exact for the channels, which lie along another axis."""
    return chain(
        SEQUENCE, layers.Dense(8, name="a"), layers.LayerNormalization(axis=1), layers.Flatten()
    )


def reshapes() -> Any:
    return chain(
        PICTURE,
        layers.Conv2D(6, 3, name="a"),
        layers.Reshape((36, 6)),
        layers.Conv1D(7, 3, name="b"),
        layers.Permute((2, 1)),
        layers.Reshape((-1, 2, 17)),
        layers.Flatten(),
        layers.Dense(8, name="c"),
        layers.RepeatVector(3),
        layers.Reshape((3, 1, -1)),
        layers.Flatten(),
    )


NETS: dict[str, tuple[Net, Counts]] = {
    "lenet": (lenet, {"c1": 6, "c2": 8, "d1": 10}),
    "separable": (separable, {"c": 6, "s": 8}),
    "separable_1d": (separable_1d, {"c": 6, "s": 8}),
    "depthwise": (depthwise, {"c": 6, "p": 8}),
    "depthwise_1d": (depthwise_1d, {"c": 6}),
    "volumes": (volumes, {"c": 6, "t": 8}),
    "transposed": (transposed, {"t1": 6, "t2": 8}),
    "transposed_1d": (transposed_1d, {"t": 6}),
    "in_groups": (in_groups, {"c": 3, "g": 4}),
    "in_groups_of_one": (in_groups_of_one, {"c": 6}),
    "prelu": (prelu, {"c": 6, "d": 8}),
    "activations": (activations, {"a": 8, "b": 8}),
    "spatial_dropout": (spatial_dropout, {"c": 6}),
    "group_norm": (group_norm, {"c": 4, "d": 6}),
    "renormalized": (renormalized, {"a": 8, "b": 7, "c": 6}),
    "norm_of_steps": (norm_of_steps, {"a": 8}),
    "reshapes": (reshapes, {"a": 6, "b": 7, "c": 8}),
}
