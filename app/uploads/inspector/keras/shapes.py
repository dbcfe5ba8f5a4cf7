"""What each kind of layer or operation makes of the shapes that come in: one short rule each."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.recipes.keras.graph import SAME_SHAPE, Config
from app.uploads.inspector.keras.lookups import is_layer
from app.uploads.inspector.keras.names import is_operation

Shape = list[int | None]
Rule = Callable[[Mapping[str, Any], list[Shape]], Shape | None]

# What gives as much as comes in, and what merges several into the size of the largest.
KEEPING = frozenset(
    """
    Abs Absolute Activation Ceil Cos Cosh Elu Erf Exp Expm1 Floor Gelu HardSigmoid Identity
    LeakyRelu Log Log1p LogSoftmax Masking Negative Reciprocal Relu Relu6 Round Rsqrt Selu Sigmoid
    Sign Silu Sin Sinh Softmax Softplus Softsign Sqrt Square StopGradient Tan Tanh
    GroupNormalization Normalization RMSNormalization UnitNormalization
    """.split()  # noqa: SIM905 - easier to read
) | (SAME_SHAPE - {"Add", "Average"})
MERGING = frozenset({"Add", "Average", "Divide", "Maximum", "Minimum", "Multiply", "Subtract"})
UNKNOWN = (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError)


def values_in(shape: Sequence[int | None]) -> int:
    """Of one sample, as far as that is known."""
    return math.prod(max(1, axis) for axis in shape if axis is not None)


def shape_after(layer: Config, fed: Sequence[Shape | None]) -> Shape | None:
    """What a layer or operation makes of tensors of these shapes; None where that is not known."""
    shapes = [shape for shape in fed if shape is not None]
    rule = _rule_of(layer)
    if rule is None or len(shapes) < len(fed) or not is_layer(layer):
        return None
    try:
        return rule(layer["config"], shapes)
    except UNKNOWN:
        # Nothing that Keras wrote: loading fails at it.
        return None


def gives_one(layer: Config) -> bool:
    """Whether it is a layer that surely makes one tensor of what comes in."""
    return not is_operation(layer.get("module")) and layer["class_name"] in LAYERS


def _rule_of(layer: Config) -> Rule | None:
    kind = str(layer["class_name"])
    if is_operation(layer.get("module")):
        return OPERATIONS.get(kind)
    return LAYERS.get(kind)


def _kept(_config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return fed[0]


def _merged(_config: Mapping[str, Any], fed: list[Shape]) -> Shape | None:
    """Broadcast: an axis of one grows to that of another."""
    return [_widest(axes) for axes in zip(*_padded(fed), strict=True)]


def _merged_with(config: Mapping[str, Any], fed: list[Shape]) -> Shape | None:
    """An operation on one tensor has a constant beside it, which may be the larger."""
    return _merged(config, fed) if len(fed) > 1 else None


def _padded(shapes: Sequence[Shape]) -> list[Shape]:
    """With axes of one in front, of one rank."""
    rank = max(map(len, shapes))
    ones: Shape = [1] * rank
    return [ones[len(shape) :] + shape for shape in shapes]


def _widest(axes: Sequence[int | None]) -> int | None:
    known = [axis for axis in axes if axis is not None]
    widest = max(known, default=None)
    return None if None in axes and widest in (None, 1) else widest


def _dense(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return [*fed[0][:-1], int(config["units"])]


def _embedding(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return [*fed[0], int(config["output_dim"])]


def _flatten(_config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    inside = fed[0][1:]
    return [fed[0][0], None if None in inside else values_in(inside)]


def _reshape(config: Mapping[str, Any], fed: list[Shape]) -> Shape | None:
    wanted = list(config["target_shape"])
    inside = fed[0][1:]
    if -1 in wanted and None not in inside:
        wanted[wanted.index(-1)] = values_in(inside) // math.prod(
            axis for axis in wanted if axis != -1
        )
    return [fed[0][0], *(None if axis == -1 else axis for axis in wanted)]


def _repeat_vector(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return [fed[0][0], int(config["n"]), *fed[0][1:]]


def _permute(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return [fed[0][0], *(fed[0][axis] for axis in config["dims"])]


def _in_space(config: Mapping[str, Any], shape: Shape, lengths: Callable[[int, int], int]) -> Shape:
    """With other spatial axes: `lengths(which, length)` says how long each becomes."""
    is_first = config.get("data_format") == "channels_first"
    spatial = shape[2:] if is_first else shape[1:-1]
    made = [None if axis is None else lengths(at, axis) for at, axis in enumerate(spatial)]
    return [*shape[:2], *made] if is_first else [shape[0], *made, shape[-1]]


def _each(value: Any, at: int) -> Any:
    return value[at] if isinstance(value, list) else value


def _up_sampled(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return _in_space(config, fed[0], lambda at, axis: axis * int(_each(config["size"], at)))


def _zero_padded(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    padding = config["padding"]
    is_series = len(fed[0]) == 3

    def length(at: int, axis: int) -> int:
        sides = padding if is_series else _each(padding, at)
        return axis + (sum(sides) if isinstance(sides, list) else 2 * sides)

    return _in_space(config, fed[0], length)


def _window(config: Mapping[str, Any], shape: Shape, size: Any) -> Shape:
    """What a window leaves that moves over the spatial axes."""
    strides = config.get("strides") or size
    is_valid = config.get("padding") == "valid"

    def length(at: int, axis: int) -> int:
        width = (_each(size, at) - 1) * _each(config.get("dilation_rate", 1), at)
        return -int(-(axis - (width if is_valid else 0)) // _each(strides, at))

    return _in_space(config, shape, length)


def _with_channels(config: Mapping[str, Any], shape: Shape, channels: int) -> Shape:
    is_first = config.get("data_format") == "channels_first"
    return [shape[0], channels, *shape[2:]] if is_first else [*shape[:-1], channels]


def _conv(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    moved = _window(config, fed[0], config["kernel_size"])
    return _with_channels(config, moved, int(config["filters"]))


def _pooled(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return _window(config, fed[0], config["pool_size"])


def _conv_transposed(config: Mapping[str, Any], fed: list[Shape]) -> Shape | None:
    if config.get("output_padding") is not None or config.get("padding") != "same":
        return None
    strides = config["strides"]
    longer = _in_space(config, fed[0], lambda at, axis: axis * int(_each(strides, at)))
    return _with_channels(config, longer, int(config["filters"]))


def _concatenated(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    axis, made = config.get("axis", -1), list(fed[0])
    lengths = [shape[axis] for shape in fed]
    made[axis] = None if None in lengths else sum(length or 0 for length in lengths)
    return made


def _concatenated_by(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    """The operation counts from the first axis where it does not say from which."""
    return _concatenated({"axis": config.get("axis", 0)}, fed)


def _stacked(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    axis, made = config.get("axis", 0), list(fed[0])
    made.insert(axis if axis >= 0 else axis + len(made) + 1, len(fed))
    return made


def _widened(config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    sides = config["pad_width"]
    each = sides * len(fed[0]) if len(sides) == 1 else sides
    pairs = zip(fed[0], each, strict=True)
    return [None if axis is None else axis + sum(pair) for axis, pair in pairs]


def _outer(_config: Mapping[str, Any], fed: list[Shape]) -> Shape | None:
    return [values_in(fed[0]), values_in(fed[1])] if len(fed) > 1 else None


def _kron(_config: Mapping[str, Any], fed: list[Shape]) -> Shape | None:
    if len(fed) < 2:
        return None
    pairs = zip(*_padded(fed), strict=True)
    return [None if None in (one, two) else one * two for one, two in pairs]


def _diagflat(_config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return [values_in(fed[0]), values_in(fed[0])]


def _mesh(_config: Mapping[str, Any], fed: list[Shape]) -> Shape:
    return [values_in(shape) for shape in fed]


def _einsum(config: Mapping[str, Any], fed: list[Shape]) -> Shape | None:
    came_in, _, made = str(config["subscripts"]).replace(" ", "").partition("->")
    if "." in came_in or len(came_in.split(",")) != len(fed):
        return None
    pairs = zip(came_in.split(","), fed, strict=True)
    sizes = {
        letter: axis
        for letters, shape in pairs
        for letter, axis in zip(letters, shape, strict=True)
    }
    return [sizes[letter] for letter in made]


LAYERS: Mapping[str, Rule] = {
    **dict.fromkeys(KEEPING, _kept),
    **dict.fromkeys(MERGING - {"Divide"}, _merged),
    "Concatenate": _concatenated,
    "Dense": _dense,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Reshape": _reshape,
    **dict.fromkeys((f"UpSampling{axes}D" for axes in "123"), _up_sampled),
    **dict.fromkeys((f"ZeroPadding{axes}D" for axes in "123"), _zero_padded),
    **dict.fromkeys((f"Conv{axes}D" for axes in "123"), _conv),
    **dict.fromkeys((f"Conv{axes}DTranspose" for axes in "123"), _conv_transposed),
    **dict.fromkeys((f"SeparableConv{axes}D" for axes in "12"), _conv),
    **dict.fromkeys((f"MaxPooling{axes}D" for axes in "123"), _pooled),
    **dict.fromkeys((f"AveragePooling{axes}D" for axes in "123"), _pooled),
}
OPERATIONS: Mapping[str, Rule] = {
    **dict.fromkeys(KEEPING, _kept),
    **dict.fromkeys(MERGING, _merged_with),
    "Concatenate": _concatenated_by,
    "Diagflat": _diagflat,
    "Einsum": _einsum,
    "Kron": _kron,
    "Meshgrid": _mesh,
    "Outer": _outer,
    "Pad": _widened,
    "Stack": _stacked,
}
