"""Every layer and every operation of the Keras installed, each in a small model of its own.

What there is is read off Keras itself: a layer or operation that a new version brings is tried
with the arguments that most take, and fails the tests that walk through here where it needs others.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import keras
import numpy as np
from keras import layers, ops

Tensors = Sequence[Any]
VECTOR, SERIES, PICTURE, VOLUME = (8,), (6, 4), (16, 16, 3), (8, 8, 8, 3)
FILMS, CUBES = (2, 16, 16, 3), (3, 8, 8, 8, 2)
SOUND, LONG_SOUND = (1000,), (3000, 1)
SHAPES: tuple[tuple[tuple[int, ...], ...], ...] = (
    *((VECTOR,), (SERIES,), (PICTURE,), (VOLUME,), (FILMS,), (CUBES,), (LONG_SOUND,)),
    *((VECTOR, VECTOR), (SERIES, SERIES)),
)
# What runs code that a file brings, reads other files, or is there to be inherited from.
NOT_FOR_FILES = frozenset(
    {"FlaxLayer", "InputSpec", "JaxLayer", "Lambda", "Layer", "TFSMLayer", "TorchModuleWrapper"}
) | {"Wrapper"}
_RATE = {"rate": 0.1}
_FACTOR = {"factor": 0.2}
_FILTERS = {"filters": 4, "kernel_size": 3}
_CUT = {"height": 4, "width": 4}
_TABLE = {"input_dim": 10, "output_dim": 4}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "Activation": {"activation": "relu"},
    "CategoryEncoding": {"num_tokens": 9},
    "CenterCrop": _CUT,
    "Dense": {"units": 3},
    "Discretization": {"bin_boundaries": [0.0, 1.0]},
    "Dot": {"axes": 1},
    "EinsumDense": {"equation": "ab,bc->ac", "output_shape": 5},
    "Embedding": _TABLE,
    "GaussianNoise": {"stddev": 0.1},
    "GroupNormalization": {"groups": 2},
    "GroupedQueryAttention": {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
    "HashedCrossing": {"num_bins": 5},
    "Hashing": {"num_bins": 5},
    "IntegerLookup": {"vocabulary": [1, 2, 3]},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 3},
    "Permute": {"dims": (2, 1)},
    "RandomCrop": _CUT,
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
    "RepeatVector": {"n": 3},
    "Rescaling": {"scale": 0.1},
    "Reshape": {"target_shape": (2, 4)},
    "Resizing": _CUT,
    "ReversibleEmbedding": _TABLE,
    "StringLookup": {"vocabulary": ["a", "b"]},
    "TextVectorization": {"vocabulary": ["a", "b"]},
    **{
        f"{kind}{part}": {"units": 3}
        for kind in ("LSTM", "GRU", "SimpleRNN")
        for part in ("", "Cell")
    },
    **{
        f"Adaptive{kind}Pooling{n}D": {"output_size": 2}
        for kind in ("Average", "Max")
        for n in "123"
    },
    **{f"{kind}Pooling{n}D": {"pool_size": 2} for kind in ("Average", "Max") for n in "123"},
    **{f"Conv{n}D": _FILTERS for n in "123"},
    **{f"Conv{n}DTranspose": _FILTERS for n in "123"},
    **{f"ConvLSTM{n}D": _FILTERS for n in "123"},
    **{f"SeparableConv{n}D": _FILTERS for n in "12"},
    **{f"DepthwiseConv{n}D": {"kernel_size": 3} for n in "12"},
    **{f"{kind}Dropout": _RATE for kind in ("", "Alpha", "Gaussian")},
    **{f"SpatialDropout{n}D": _RATE for n in "123"},
    **{f"Random{kind}": _FACTOR for kind in ("Brightness", "Contrast", "Hue", "Rotation")},
    **{f"Random{kind}": _FACTOR for kind in ("ColorDegeneration", "Saturation", "Sharpness")},
    "RandomPosterization": {"factor": 4},
}
WHOLE = ("Embedding", "ReversibleEmbedding", "CategoryEncoding", "IntegerLookup")
DTYPES = {
    **dict.fromkeys((*WHOLE, "Hashing", "HashedCrossing"), "int32"),
    **dict.fromkeys(("StringLookup", "TextVectorization"), "string"),
}


def layer_classes() -> dict[str, type]:
    """Each class of `keras.layers` once, by the name it has in .h5 files."""
    found = vars(layers).values()
    return {each.__name__: each for each in found if inspect.isclass(each)}


def layer_model(name: str) -> Any:
    """A model around one layer; what wraps a layer wraps one that is plain.

    Raises: AssertionError where no arguments were found for it.
    """
    if name == "InputLayer":
        return keras.Sequential([layers.InputLayer(shape=VECTOR), layers.Dense(3)])
    reason = ""
    if name == "MaxNumBoundingBoxes":
        boxes = {"boxes": keras.Input((5, 4)), "labels": keras.Input((5,))}
        named = {"images": keras.Input(PICTURE), "bounding_boxes": boxes}
        return keras.Model(named, layers.MaxNumBoundingBoxes(max_number=3)(named))
    for shapes in SHAPES:
        inputs = [keras.Input(shape, dtype=DTYPES.get(name)) for shape in shapes]
        if DTYPES.get(name) == "string":
            inputs = [keras.Input((1,), dtype="string")]
        try:
            return keras.Model(inputs, _called(_layer(name), inputs))
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            reason = str(error)
    raise AssertionError(f"tell keras_zoo.py how {name} is built: {reason}")


def operation_names() -> list[str]:
    """The functions of `keras.ops` that a graph can be made of, those for pictures included."""
    plain = {name for name, each in vars(ops).items() if inspect.isfunction(each)}
    pictures = {f"image.{name}" for name, each in vars(ops.image).items() if callable(each)}
    return sorted(plain - NO_NODE | pictures)


def operation_model(name: str) -> Any:
    """A model of one operation.

    Raises: AssertionError where no arguments were found for it.
    """
    function, reason = attrgetter(name)(ops), ""
    for arguments in CALLS[name]() if name in CALLS else _usual_calls():
        try:
            made = keras.tree.flatten(function(*arguments))
            inputs = {id(each): each for each in keras.tree.flatten(arguments) if _flows(each)}
            outputs = [each for each in made if _flows(each)]
            if outputs:
                return keras.Model(list(inputs.values()), outputs)
        except Exception as error:  # noqa: BLE001 - they raise almost anything
            reason = str(error)
    raise AssertionError(f"tell keras_zoo.py how keras.ops.{name} is called: {reason}")


# These return plain values, make constants, or call functions that they are given.
NO_NODE = frozenset(
    """
    arange array associative_scan bartlett blackman cond convert_to_numpy custom_gradient dtype
    empty eye fori_loop full hamming hanning identity is_tensor jvp kaiser map ones scan shape
    switch tri vectorize vectorized_map while_loop zeros
    """.split()  # noqa: SIM905 - easier to read
)


def _usual_calls() -> Iterator[Tensors]:
    series, square, picture = _in(*SERIES), _in(4, 4), _in(*PICTURE)
    whole, truth = _in(6, dtype="int32"), _in(*SERIES, dtype="bool")
    yield from [(each,) for each in (series, square, whole, picture, truth)]
    yield from [(series, _in(*SERIES)), (square, _in(4, 4)), (whole, _in(6, dtype="int32"))]
    yield from [(truth, _in(*SERIES, dtype="bool")), ([series, _in(*SERIES)],)]
    yield from [(series, 2), (series, 0, 1), (truth, series, _in(*SERIES)), (series, whole)]
    yield from [(whole, 3), (picture, (8, 8)), (series, 1), (series, [[0, 0], [1, 1], [0, 0]])]
    yield from [(_in(6, dtype="complex64"),), (series, series, 1), (square, _in(4, 1))]
    yield from [((_in(16), _in(16)),), (_in(32), 8, 4, 8), (_in(6, 2, 4),) * 3]


def _in(*shape: int, dtype: str = "float32") -> Any:
    return keras.Input(shape, dtype=dtype)


def _flows(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _kernel(*shape: int) -> Any:
    return np.ones(shape, "float32")


CALLS: dict[str, Callable[[], Sequence[Tensors]]] = {
    "adaptive_average_pool": lambda: [(_in(*PICTURE), (2, 2))],
    "adaptive_max_pool": lambda: [(_in(*PICTURE), (2, 2))],
    "batch_normalization": lambda: [(_in(*SERIES), _kernel(4), _kernel(4), -1)],
    "broadcast_to": lambda: [(_in(1, 4), (2, 6, 4))],
    "cast": lambda: [(_in(*SERIES), "int32")],
    "correlate": lambda: [(keras.Input(batch_shape=(4,)), _kernel(3))],
    "cross": lambda: [(_in(6, 3), _in(6, 3))],
    "ctc_loss": lambda: [
        (_in(5, dtype="int32"), _in(6, 4), _in(dtype="int32"), _in(dtype="int32"))
    ],
    "depth_to_space": lambda: [(_in(4, 4, 8), 2)],
    "depthwise_conv": lambda: [(_in(*PICTURE), _kernel(3, 3, 3, 1))],
    "digitize": lambda: [(_in(*SERIES), np.array([0.0, 1.0]))],
    "einsum": lambda: [("abc,cd->abd", _in(*SERIES), _kernel(4, 2))],
    "image.affine_transform": lambda: [(_in(*PICTURE), _in(8))],
    "image.crop_images": lambda: [(_in(*PICTURE), 2, 2, None, None, 8, 8)],
    "image.elastic_transform": lambda: [(_in(*PICTURE),)],
    "image.extract_patches": lambda: [(_in(*PICTURE), 4)],
    "image.extract_patches_3d": lambda: [(_in(*VOLUME), 4)],
    "image.map_coordinates": lambda: [(keras.Input(batch_shape=(8, 8)), _kernel(2, 5), 1)],
    "image.pad_images": lambda: [(_in(*PICTURE), 1, 1, 1, 1)],
    "image.perspective_transform": lambda: [(_in(*PICTURE), _in(4, 2), _in(4, 2))],
    "image.scale_and_translate": lambda: [
        (_in(*PICTURE), (2, 8, 8, 3), _kernel(2), _kernel(2), (1, 2), "linear")
    ],
    "image.ssim": lambda: [(_in(*PICTURE), _in(*PICTURE), 1.0)],
    "istft": lambda: [((_in(17, 9), _in(17, 9)), 16, 8, 16)],
    "psnr": lambda: [(_in(*PICTURE), _in(*PICTURE), 1.0)],
    "rearrange": lambda: [(keras.Input(batch_shape=(2, 6, 4)), "b t c -> b (t c)")],
    "reshape": lambda: [(_in(*SERIES), (-1, 24))],
    "roll": lambda: [(_in(*SERIES), 2)],
    "saturate_cast": lambda: [(_in(*SERIES), "uint8")],
    "scatter": lambda: [(_in(1, dtype="int32"), _in(), (8,))],
    "searchsorted": lambda: [(np.array([0.0, 1.0]), _in())],
    **{
        f"segment_{kind}": lambda: [(_in(4), keras.Input((), dtype="int32"), 3)]
        for kind in ("max", "min", "prod", "sum")
    },
    "select": lambda: [([_in(4, dtype="bool")], [_in(4)], 0)],
    "separable_conv": lambda: [(_in(*PICTURE), _kernel(3, 3, 3, 1), _kernel(1, 1, 3, 2))],
    "slice": lambda: [(keras.Input(batch_shape=(2, 4)), (0, 1), (2, 2))],
    "space_to_depth": lambda: [(_in(4, 4, 2), 2)],
    "sparse_categorical_crossentropy": lambda: [(_in(dtype="int32"), _in(5))],
    "unfold": lambda: [(_in(3, 16, 16), (2, 2))],
    "vander": lambda: [(keras.Input(batch_shape=(4,)),)],
}


def _layer(name: str) -> Any:
    wrapped = {
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(3)),
        # Alone it gives its input back, which is no graph.
        "Equalization": lambda: layers.Pipeline([layers.Equalization()]),
        "Pipeline": lambda: layers.Pipeline([layers.Rescaling(0.1), layers.RandomFlip()]),
        "RNN": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)]),
        "SpectralNormalization": lambda: layers.SpectralNormalization(layers.Dense(3)),
        "StackedRNNCells": lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3)])),
        "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3)),
    }
    if name in wrapped:
        return wrapped[name]()
    layer = layer_classes()[name](**ARGUMENTS.get(name, {}))
    return layers.RNN(layer) if name.endswith("Cell") else layer


def _called(layer: Any, inputs: Tensors) -> Any:
    if isinstance(layer, layers.MultiHeadAttention | layers.GroupQueryAttention):
        return layer(inputs[0], inputs[-1])
    return layer(list(inputs) if len(inputs) > 1 else inputs[0])
