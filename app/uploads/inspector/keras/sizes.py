"""How large a Keras config says that weights and results are: never more than the file stores.

A layer of a billion units takes ten bytes to write. What makes weights is held against the weight
values in the file; what only makes results, against the largest that any machine here could hold.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.errors import RejectedUpload
from app.uploads.inspector.keras.names import GROWING
from app.uploads.inspector.keras.walk import Spot, refused
from app.uploads.inspector.shown import shown

# Of one sample: 4 GiB in float32.
MAX_VALUES = 2**30
# Sub-byte quantization keeps up to this many values in one that is stored.
PACKED = 8
_CONV = (("filters", "kernel_size"), ("filters", "lora_rank"))
_DEPTHWISE = (("kernel_size", "depth_multiplier"),)
_RECURRENT_LAYERS = ("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell")
_CONV_RECURRENT_LAYERS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_TABLE = (("input_dim", "output_dim"), ("input_dim", "lora_rank"), ("lora_rank", "output_dim"))
_GROUPED = (("num_query_heads", "head_dim"), ("num_key_value_heads", "head_dim"))
# A layer of this class has a weight for each of these products, with at least so many values.
WEIGHTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "Dense": (("units",), ("units", "lora_rank")),
    **dict.fromkeys((f"Conv{axes}D" for axes in "123"), _CONV),
    **dict.fromkeys((f"Conv{axes}DTranspose" for axes in "123"), _CONV),
    **dict.fromkeys((f"SeparableConv{axes}D" for axes in "12"), (*_DEPTHWISE, ("filters",))),
    **dict.fromkeys((f"DepthwiseConv{axes}D" for axes in "12"), _DEPTHWISE),
    **dict.fromkeys(_CONV_RECURRENT_LAYERS, (("filters", "filters", "kernel_size"),)),
    **dict.fromkeys(_RECURRENT_LAYERS, (("units", "units"),)),
    **dict.fromkeys(("Embedding", "ReversibleEmbedding"), _TABLE),
    "MultiHeadAttention": (
        *(("num_heads", "key_dim"), ("num_heads", "value_dim")),
        ("num_heads", "value_dim", "output_shape"),
    ),
    **dict.fromkeys(("GroupQueryAttention", "GroupedQueryAttention"), _GROUPED),
}
# Weights of any other layer, should it have these.
OTHER_WEIGHTS = (
    *(("units",), ("filters",), ("input_dim",), ("output_dim",), ("projection_dim",)),
    *(("frame_length",), ("lora_rank",)),
)
# What results are made of, whichever layer has it: one more axis, a longer one, one cut to length.
# Fields of one line multiply; of the others, each makes a result of its own or none.
EXTENTS: tuple[tuple[str, ...], ...] = (
    ("height", "width"),
    ("fft_length", "num_mel_bins"),
    ("fft_length", "frame_length"),
    *(
        (field,)
        for field in """
        batch_input_shape batch_shape bins dilation_rate input_shape max_number max_tokens n
        num_bins num_oov_indices num_tokens output_padding output_sequence_length output_size
        shape size strides target_shape vocabulary_size
        """.split()  # noqa: SIM905 - easier to read
    ),
)
# By how much an axis becomes longer, in front and behind.
PADDING = ("pad_width", "padding")
# Operations of windows: their length, their step and what they are cut to are not multiplied.
WINDOWS = frozenset({"ExtractPatches", "ExtractSequences", "ISTFT", "STFT", "Unfold"})
IMAGE_PADDING = (
    ("top_padding", "bottom_padding"),
    ("left_padding", "right_padding"),
)
# How often a layer or operation does its work over: each time is a part of the graph of its own.
REPEATS = frozenset(
    "chain_depth indices_or_sections ngrams num num_chains num_ops power_iterations".split()  # noqa: SIM905 - easier to read
)
MAX_REPEATS = 1_000
TENSORS = frozenset({"__keras_tensor__", "__tensor__", "__numpy__"})
SHAPES = frozenset({"batch_input_shape", "batch_shape", "input_shape", "shape"})


def declared_weights(spot: Spot, most: int) -> int:
    """How many weight values a layer has at least.

    Raises: RejectedUpload where one of its numbers is none, or makes more than `most`.
    """
    class_name, config = str(spot.value["class_name"]), spot.value["config"]
    least = 0
    for fields in WEIGHTS.get(class_name, OTHER_WEIGHTS):
        given = {field: config.get(field) for field in fields}
        if None in given.values():
            continue
        values = [count(given[field]) for field in fields]
        if not all(values) or math.prod(values) > most:
            raise too_many(spot, given, most)
        least = max(least, math.prod(values))
    return least


def check_extents(spot: Spot) -> None:
    """Raises: RejectedUpload where a layer or operation would make a result beyond all bounds."""
    if str(spot.value["class_name"]) not in GROWING:
        _check_repeats(spot)
    for factors in _extents(str(spot.value["class_name"]), spot.value):
        if math.prod(max(1, abs(factor)) for factor in factors) > MAX_VALUES:
            raise refused(
                spot,
                f"{shown(spot.value['class_name'])} {shown(spot.value['config'].get('name'))} "
                f"declares a result of more than {MAX_VALUES} values",
                "No job could compute that; save the model with the sizes it is used at.",
            )


def _extents(kind: str, layer: Mapping[str, Any]) -> Iterator[list[int]]:
    """Numbers that multiply to what is made of one value that comes in, or to less."""
    config, nodes = layer["config"], layer.get("inbound_nodes")
    yield from (_sums(config[field]) for field in PADDING if field in config)
    # Kernels that are weights are held against those in the file.
    if kind not in WEIGHTS:
        yield list(_numbers([config.get("kernel_size")]))
    if kind not in GROWING:
        yield from (list(_numbers(map(config.get, fields))) for fields in EXTENTS)
        return
    rest = {field: value for field, value in config.items() if field not in PADDING}
    if kind in WINDOWS:
        yield from (list(_numbers([value])) for value in rest.values())
        rest = {}
    if kind == "PadImages":
        yield [sum(_numbers(map(config.get, fields))) for fields in IMAGE_PADDING]
        rest = {field: rest.get(field) for field in ("target_height", "target_width")}
    if kind == "Repeat":
        # One number for all, or one for each place along the axis.
        yield [sum(map(abs, _numbers([rest.pop("repeats", None)])))]
    yield list(_numbers([rest, nodes]))


def _sums(padding: Any) -> list[int]:
    """What each axis becomes longer by: of `[[1, 2], [3, 4]]`, 3 and 7; of `[1, 2]`, 3."""
    sides = padding if isinstance(padding, list) else [padding, padding]
    if any(isinstance(side, list) for side in sides):
        return [sum(map(abs, _numbers([side]))) for side in sides]
    return [sum(map(abs, _numbers(sides)))]


def _check_repeats(spot: Spot) -> None:
    config = spot.value["config"]
    for key in REPEATS & config.keys():
        value = config[key]
        if type(value) is int and abs(value) > MAX_REPEATS:
            raise refused(
                spot,
                f"{shown(spot.value['class_name'])} {shown(config.get('name'))} has {key}="
                f"{value}: it would do its work {value} times; {MAX_REPEATS} are the most",
                "Save the model with the numbers it is used with.",
            )


def check_shape(spot: Spot) -> None:
    """Raises: RejectedUpload where a dict holds a shape that no tensor here can have."""
    shapes = spot.value if isinstance(spot.value, dict) else {}
    for key in SHAPES & shapes.keys():
        lengths = shapes[key] if isinstance(shapes[key], list) else []
        if math.prod(max(1, axis) for axis in lengths if type(axis) is int) > MAX_VALUES:
            raise refused(
                spot, f"{key} {shown(lengths)} has more than {MAX_VALUES} values in one sample"
            )


def count(value: object) -> int:
    """A whole number from 1 on, or the product of several; 0 for what is none."""
    values = value if isinstance(value, list) and value else [value]
    if all(type(each) is int and each > 0 for each in values):
        return math.prod(values)
    return 0


def _numbers(values: Iterable[Any]) -> Iterator[int]:
    """The whole numbers in any nesting; not those of tensors, which tell their own shape."""
    pending = list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict) and value.get("class_name") not in TENSORS:
            pending.extend(value.values())
        elif type(value) is int:
            yield value


def too_many(spot: Spot, given: Mapping[str, Any], most: int) -> RejectedUpload:
    layer = spot.value
    declared = ", ".join(f"{key}={shown(value)}" for key, value in given.items())
    return refused(
        spot,
        f"{shown(layer['class_name'])[1:-1]} {shown(layer['config'].get('name'))} declares "
        f"{declared}, but the file stores {most} weight values in all",
        "Configuration and weights do not belong together; save the model again.",
    )
