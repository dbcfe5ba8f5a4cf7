"""Draws weights as a new layer would have them, each kernel from a stream of its own."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.recipes.steps.initialization import InitialWeights, Scheme
from worker.engine.surgery.kernels import Kernel, kernels
from worker.engine.surgery.weights import Leaf, named_weights, sublayers

Array = NDArray[Any]

SCALED: Mapping[Scheme, Callable[..., keras.initializers.Initializer]] = {
    "glorot_uniform": keras.initializers.GlorotUniform,
    "glorot_normal": keras.initializers.GlorotNormal,
    "he_uniform": keras.initializers.HeUniform,
    "he_normal": keras.initializers.HeNormal,
    "lecun_uniform": keras.initializers.LecunUniform,
    "lecun_normal": keras.initializers.LecunNormal,
}
# The schemes that recurrent kernels follow as well.
RECURRENT: frozenset[Scheme] = frozenset({"orthogonal", "zeros"})


def initializer_of(
    weights: InitialWeights, scheme: Scheme, seed: int
) -> keras.initializers.Initializer:
    """The Keras initializer of a scheme that draws; `pretrained` has none."""
    if scheme in SCALED:
        return SCALED[scheme](seed=seed)
    if scheme == "uniform":
        return keras.initializers.RandomUniform(weights.minval, weights.maxval, seed=seed)
    if scheme == "normal":
        return keras.initializers.RandomNormal(weights.mean, weights.stddev, seed=seed)
    if scheme == "truncated_normal":
        return keras.initializers.TruncatedNormal(weights.mean, weights.stddev, seed=seed)
    if scheme == "orthogonal":
        return keras.initializers.Orthogonal(weights.gain, seed=seed)
    if scheme == "zeros":
        return keras.initializers.Zeros()
    raise ValueError(f"{scheme} does not draw weights")


def stream(seed: int, name: str) -> int:
    """A seed for one weight: no matter how many others are drawn before it."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def reason_to_stay(layer: keras.Layer) -> str | None:
    """Why a layer with weights is not started again; None if it is."""
    if not layer.trainable:
        return "it is frozen (trainable = False), so nothing would train it again"
    if isinstance(layer, keras.layers.Normalization):
        return "it holds statistics of the data, not what training made"
    return None


def new_weights(
    model: keras.Model,
    chosen: Iterable[Leaf],
    weights: InitialWeights,
    *,
    scheme: Scheme,
    seed: int,
) -> dict[str, Array]:
    """All weights of the chosen layers anew, by stable name; the model stays as it is.

    Kernels (of at least two axes) follow the scheme; all else is what a new layer has. So are the
    recurrent kernels of a scheme that is for inputs: they lead a state back into itself, step after
    step, for which Keras and others draw orthogonal ones (Saxe et al. 2013, arXiv:1312.6120).
    """
    like_new = named_weights(_like_new(model, seed))
    found = {kernel.name: kernel for kernel in kernels(model) if isinstance(kernel, Kernel)}
    values: dict[str, Array] = {}
    for leaf in chosen:
        by_equation = _kernels_by_equation(leaf)
        for name, variable in leaf.weights().items():
            if name not in found or len(variable.shape) < 2 or _is_left(name, scheme):
                values[name] = like_new[name].numpy()
                continue
            initializer = initializer_of(weights, scheme, stream(seed, name))
            if id(variable) in by_equation and scheme in SCALED:
                initializer = _with_axes(initializer, found[name])
            drawn = initializer(tuple(variable.shape), dtype=variable.dtype)
            values[name] = keras.ops.convert_to_numpy(drawn)
    return values


def _is_left(name: str, scheme: Scheme) -> bool:
    """Whether a kernel is recurrent, and the scheme none that says how those start."""
    # Both directions of a layer have one; the second's ends in a number.
    return name.rpartition("/")[2].startswith("recurrent_kernel") and scheme not in RECURRENT


def _like_new(model: keras.Model, seed: int) -> keras.Model:
    """The same architecture as nobody trained it.

    Embeddings and a few other weights are drawn by initializers whose seed Keras takes from
    Python's global generator; this is the one way to start it.
    """
    keras.utils.set_random_seed(seed)
    return type(model).from_config(model.get_config())


def _kernels_by_equation(leaf: Leaf) -> frozenset[int]:
    """Kernels of EinsumDense layers, wherever they are inside: attention has four."""
    return frozenset(
        id(layer.kernel)
        for layer in sublayers(leaf.layer)
        if isinstance(layer, keras.layers.EinsumDense)
    )


def _with_axes(
    initializer: keras.initializers.Initializer, kernel: Kernel
) -> keras.initializers.Initializer:
    """Told which axes are inputs, as EinsumDense tells its own; by rank it would be guessed."""
    outputs = [a for a in range(len(kernel.variable.shape)) if a not in kernel.input_axes]
    axes = {"input_axes": list(kernel.input_axes), "output_axes": outputs}
    return type(initializer).from_config({**initializer.get_config(), **axes})


def held(values: Mapping[str, Array], masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, Array]:
    """Weights with what was pruned at zero again."""
    return {
        name: np.where(masks[name], value, np.zeros((), value.dtype)) if name in masks else value
        for name, value in values.items()
    }
