"""What weights a layer makes for the shape that comes in: at least so many values.

A file says at two places what comes in: where the layer is called, and what it was built with.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.uploads.inspector.keras.sizes import (
    MAX_VALUES,
    WEIGHTS,
    count,
    too_many,
)
from app.uploads.inspector.keras.walk import Spot, refused
from app.uploads.inspector.shown import shown

ELLIPSIS = "..."
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell")
CONV_RECURRENT = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
# Of which there is a weight for each channel that comes in.
BY_CHANNEL: Mapping[str, tuple[str, ...]] = {
    **{name: products[0] for name, products in WEIGHTS.items() if "input_dim" not in products[0]},
    **dict.fromkeys(RECURRENT, ("units",)),
    **dict.fromkeys(CONV_RECURRENT, ("filters", "kernel_size")),
    "AdditiveAttention": (),
}
# Of several products of fields, the smaller: keys and values are not told from queries here.
ATTENTIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "MultiHeadAttention": (("num_heads", "key_dim"), ("num_heads", "value_dim")),
    "GroupQueryAttention": (("num_query_heads", "head_dim"), ("num_key_value_heads", "head_dim")),
    "GroupedQueryAttention": (("num_query_heads", "head_dim"), ("num_key_value_heads", "head_dim")),
}
# Some weight for each place along the axes that they name.
ALONG_AXES = frozenset(
    {"BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"}
)
# What they hold sees each step alone, or all of them.
BY_STEP = {"TimeDistributed": "layer", "RNN": "cell"}
WHOLE = {"Bidirectional": "layer", "SpectralNormalization": "layer"}


def check_channels(spot: Spot, fed: Any, most: int) -> None:
    """Weights are made for what comes in as well.

    Args:
        fed: as of `fed_weights`.
        most: weight values that the layer may have.

    Raises: RejectedUpload.
    """
    if fed_weights(spot.value, fed) > most:
        raise too_many(spot, {"input_shape": fed}, most)


def built_weights(spot: Spot, most: int) -> int:
    """How many weight values a layer has at least, by what it was built with.

    `build_config` says that: one shape or several, each like `fed` of `fed_weights`.

    Args:
        most: weight values that the layer may have.

    Raises: RejectedUpload where they are more than `most`, or where no tensor has such a shape.
    """
    least = 0
    # Of an EinsumDense, the axes that it makes are told by its own numbers.
    if fed_weights(spot.value, None) > most:
        given = ("equation", "output_shape")
        raise too_many(spot, {name: spot.value["config"].get(name) for name in given}, most)
    # What is inside a wrapper is a layer of its own, and counted there.
    is_wrapper = spot.value["class_name"] in BY_STEP | WHOLE
    for shape in _shapes(spot.value.get("build_config")):
        if math.prod(max(1, axis) for axis in shape if axis is not None) > MAX_VALUES:
            raise refused(
                spot, f"the layer was built for {shown(shape)}: more than {MAX_VALUES} values"
            )
        check_channels(spot, shape, most)
        least = max(least, 0 if is_wrapper else fed_weights(spot.value, shape))
    return least


def fed_weights(layer: Mapping[str, Any], fed: Any) -> int:
    """How many weight values a layer makes at least for one shape that comes in.

    Args:
        layer: as the file describes it: its `class_name` and its `config`.
        fed: [batch, ..., channels], as JSON has it; null = any length. [batch, channels, ...] where
            the layer's `data_format` says so; anything else where the shape is not known.

    Returns: 0 where the shape, or the axis that counts, is not known.
    """
    kind, config = layer["class_name"], layer["config"]
    if kind == "EinsumDense":
        return _of_equation(config, fed if _is_shape(fed) else [])
    if not _is_shape(fed) or len(fed) < 2:
        return 0
    if kind in BY_STEP or kind in WHOLE:
        inner = config.get(BY_STEP.get(kind) or WHOLE[kind])
        return _of_inner(inner, fed if kind in WHOLE else [fed[0], *fed[2:]])
    if kind == "PReLU":
        shared = _listed(config.get("shared_axes") or [])
        return _product(axis for at, axis in enumerate(fed) if at and at not in shared)
    if kind in ALONG_AXES or (kind == "Normalization" and config.get("mean") is None):
        return _along_axes(kind, config, fed)
    return _by_channel(kind, config, fed)


def _of_inner(inner: Any, fed: list[Any]) -> int:
    if not isinstance(inner, dict) or not isinstance(inner.get("config"), dict):
        return 0
    # One wrapper inside another; what else is there is a layer of its own.
    return fed_weights(inner, fed) if inner.get("class_name") not in ("Sequential", "Model") else 0


def _along_axes(kind: str, config: Mapping[str, Any], fed: Sequence[int | None]) -> int:
    is_bare = config.get("scale") is False and config.get("center") is False
    if is_bare and kind in ("GroupNormalization", "LayerNormalization"):
        return 0
    axes = [axis for axis in _listed(config.get("axis", -1)) if type(axis) is int]
    return _product(fed[axis] for axis in axes if -len(fed) <= axis < len(fed))


def _by_channel(kind: str, config: Mapping[str, Any], fed: Sequence[int | None]) -> int:
    fields = BY_CHANNEL.get(kind)
    if fields is None or config.get("use_scale") is False:
        return 0
    channels = fed[1] if config.get("data_format") == "channels_first" else fed[-1]
    groups = max(1, count(config.get("groups", 1))) if "filters" in fields else 1
    each = math.prod(_wide(config, field) for field in fields)
    if kind in ATTENTIONS:
        products = [[count(config.get(field)) for field in pair] for pair in ATTENTIONS[kind]]
        each = min(math.prod(pair) for pair in products if all(pair)) if all(products[0]) else 0
    return (channels or 0) * each // groups


def _wide(config: Mapping[str, Any], field: str) -> int:
    """Beside the kernel may stand a factor of it, for an adapter of this rank."""
    width = count(config.get(field))
    return max(width, count(config.get("lora_rank"))) if field in ("units", "filters") else width


def _of_equation(config: Mapping[str, Any], fed: Sequence[int | None]) -> int:
    """The kernel of an EinsumDense has the axes that its part of the equation names."""
    left, _, result = str(config.get("equation")).replace(" ", "").partition("->")
    came_in, _, kernel = left.partition(",")
    made = _listed(config.get("output_shape"))
    sizes = {**_letters(came_in, fed), **_letters(result, [None, *made])}
    *before, last = [sizes.get(letter) for letter in kernel] or [None]
    rank = count(config.get("lora_rank"))
    return _product([*before, max(rank, last) if type(last) is int else rank])


def _letters(named: str, shape: Sequence[Any]) -> dict[str, Any]:
    """The axes of a shape by their letters, which may begin or end with `...`."""
    if named.startswith(ELLIPSIS):
        letters = named.removeprefix(ELLIPSIS)
        return dict(zip(reversed(letters), reversed(shape), strict=False))
    return dict(zip(named.removesuffix(ELLIPSIS), shape, strict=False))


def _shapes(built: Any) -> Iterator[list[int | None]]:
    """Every shape in a build_config: one, or one each by name or in order."""
    pending = [built]
    while pending:
        value = pending.pop()
        if _is_shape(value):
            yield value
        elif isinstance(value, dict | list):
            pending.extend(value.values() if isinstance(value, dict) else value)


def _is_shape(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(axis is None or type(axis) is int for axis in value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _product(axes: Any) -> int:
    """Of what is known of it."""
    return math.prod(axis for axis in axes if type(axis) is int and axis > 0)
