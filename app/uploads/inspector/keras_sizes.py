"""How large a Keras config says that weights and results are: never more than the file stores.

A layer of a billion units takes ten bytes to write. What makes weights is held against the weight
values in the file; what only makes results, against the largest that any machine here could hold.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.errors import RejectedUpload
from app.uploads.inspector.keras_names import GROWING
from app.uploads.inspector.keras_walk import Spot, refused
from app.uploads.inspector.shown import shown

# Of one sample: 4 GiB in float32.
MAX_VALUES = 2**30
# Sub-byte quantization keeps up to this many values in one that is stored.
PACKED = 8
_CONV = (("filters", "kernel_size"),)
_DEPTHWISE = (("kernel_size", "depth_multiplier"),)
_RECURRENT_LAYERS = ("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell")
_CONV_RECURRENT_LAYERS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_TABLE = (("input_dim", "output_dim"),)
_GROUPED = (("num_query_heads", "head_dim"), ("num_key_value_heads", "head_dim"))
# A layer of this class has a weight for each of these products, with at least so many values.
WEIGHTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "Dense": (("units",),),
    **dict.fromkeys((f"Conv{axes}D" for axes in "123"), _CONV),
    **dict.fromkeys((f"Conv{axes}DTranspose" for axes in "123"), _CONV),
    **dict.fromkeys((f"SeparableConv{axes}D" for axes in "12"), (*_DEPTHWISE, ("filters",))),
    **dict.fromkeys((f"DepthwiseConv{axes}D" for axes in "12"), _DEPTHWISE),
    **dict.fromkeys(_CONV_RECURRENT_LAYERS, (("filters", "filters", "kernel_size"),)),
    **dict.fromkeys(_RECURRENT_LAYERS, (("units", "units"),)),
    **dict.fromkeys(("Embedding", "ReversibleEmbedding"), _TABLE),
    "MultiHeadAttention": (("num_heads", "key_dim"), ("num_heads", "value_dim")),
    **dict.fromkeys(("GroupQueryAttention", "GroupedQueryAttention"), _GROUPED),
}
# Weights of any other layer, should it have these.
OTHER_WEIGHTS = (("units",), ("filters",), ("input_dim",), ("output_dim",), ("projection_dim",))
# What results are made of, whichever layer has it: one more axis, a longer one, one cut to length.
EXTENTS = frozenset(
    """
    batch_input_shape batch_shape fft_length height input_shape max_number max_tokens n num_bins
    num_mel_bins num_oov_indices num_tokens output_padding output_sequence_length output_size
    padding shape size strides target_shape vocabulary_size width
    """.split()  # noqa: SIM905 - easier to read
)
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
    config = spot.value["config"]
    if str(spot.value["class_name"]) in GROWING:
        given = [config, spot.value.get("inbound_nodes")]
    else:
        given = [value for key, value in config.items() if key in EXTENTS]
    product = 1
    for number in _numbers(given):
        product *= max(1, abs(number))
        if product > MAX_VALUES:
            raise refused(
                spot,
                f"{shown(spot.value['class_name'])} {shown(config.get('name'))} declares a result "
                f"of more than {MAX_VALUES} values",
                "No job could compute that; save the model with the sizes it is used at.",
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
