"""Finds a Keras kernel among the constants of a tflite file by its values; pure numpy.

Names do not survive conversion. Values do, up to rounding, up to the order of axes, and up to a
factor for each output channel (the converter folds a following BatchNormalization).
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from worker.engine.measuring.tflite_file import Tensor

FloatArray = npt.NDArray[np.float32]

# Cosine between a channel's weights before and after. int8 stays above 0.99 and two unrelated
# channels of ten weights rarely reach 0.8; tiny kernels are compared channel by channel.
ALIKE = 0.95


def find_kernel(kernel: FloatArray, candidates: Iterable[Tensor]) -> Tensor | None:
    """The constant that stores this kernel; null where none is alike.

    kernel: Keras layout, [..., in, out], depthwise [h, w, in, multiplier] or transposed
    convolution [h, w, out, in].
    """
    best, best_score = None, ALIKE
    for tensor in candidates:
        if len(tensor.shape) < 2 or tensor.values.size != kernel.size:
            continue
        pairs = _pairs(tensor.values, kernel)
        score = max((likeness(stored, wanted) for stored, wanted in pairs), default=0.0)
        if score > best_score:
            best, best_score = tensor, score
    return best


def likeness(stored: FloatArray, kernel: FloatArray) -> float:
    """Mean absolute cosine over the channels, in [0, 1].

    Both [channels, weights of a channel]; channels that are zero in `kernel` do not count.
    """
    lengths = np.linalg.norm(kernel, axis=1)
    stored_lengths = np.linalg.norm(stored, axis=1)
    live = lengths > 0
    if not live.any():
        return float(not stored.any())
    products = np.abs(np.einsum("cw,cw->c", stored, kernel))
    cosines = products[live] / np.maximum(lengths * stored_lengths, np.finfo(np.float32).tiny)[live]
    return float(cosines.mean())


def _pairs(stored: FloatArray, kernel: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Both as [channels, rest], for each order of the kernel's axes that has the stored shape."""
    depthwise = (*kernel.shape[:-2], kernel.shape[-2] * kernel.shape[-1])
    if _lengths(stored.shape) in (_lengths(kernel.shape), _lengths(depthwise)):
        width = stored.shape[-1]
        yield _by_channel(stored.reshape(-1, width).T), _by_channel(kernel.reshape(-1, width).T)
    for axis in range(-2, 0):
        moved = np.moveaxis(kernel, axis, 0)
        if _lengths(stored.shape) == _lengths(moved.shape):
            channels = (len(moved), -1)
            yield _by_channel(stored.reshape(channels)), _by_channel(moved.reshape(channels))


def _by_channel(weights: FloatArray) -> FloatArray:
    """Channels of one weight are all alike up to a factor: they are compared as one vector."""
    return weights.T if weights.shape[1] == 1 else weights


def _lengths(shape: tuple[int, ...]) -> list[int]:
    """A shape without its axes of length 1, which conversion adds and drops."""
    return [length for length in shape if length > 1]
