"""What a stranger might write to get past the rules for Keras models, each with its refusal."""

import json
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from app.errors import RejectedUpload
from app.uploads.inspector.keras.files import read_h5, read_keras
from tests.keras_archives import Arrays, Json, archive, hdf5

WEIGHTS: Arrays = {"layers/dense/vars/0": np.ones((4, 3), "f4"), "layers/dense/vars/1": np.ones(3)}
HISTORY = ["in", 0, 0]
SIDES = ("top_padding", "left_padding", "bottom_padding", "right_padding")
WORDS: Json = {"vocabulary": ["a", "b"]}


def layer(class_name: str, module: str | None = "keras.layers", **config: Any) -> Json:
    return {"module": module, "class_name": class_name, "config": {"name": "x", **config}}


def dense(**config: Any) -> Json:
    return layer("Dense", **{"units": 3, **config})


def source(shape: list[Any] | None = None, **config: Any) -> Json:
    return layer("InputLayer", **{"name": "in", "batch_shape": shape or [None, 4], **config})


def sequential(*layers: Json, **extra: Any) -> Json:
    body = {"name": "net", "layers": [source(), *layers]}
    return {"module": "keras", "class_name": "Sequential", "config": body, **extra}


def tensor(history: Any = HISTORY, shape: Any = (None, 4)) -> Json:
    config = {"shape": list(shape), "dtype": "float32", "keras_history": history}
    return {"class_name": "__keras_tensor__", "config": config}


def functional(node: Json, *args: Any, first: Json | None = None, ends: Any = None) -> Json:
    """`in` -> `x`, called on these arguments."""
    begin = {**(first or source()), "name": "in", "inbound_nodes": []}
    calls = [{"args": list(args), "kwargs": {}}]
    body = {
        "name": "net",
        "layers": [begin, {"name": "x", **node, "inbound_nodes": calls}],
        "input_layers": ["in", 0, 0],
        "output_layers": ends or ["x", 0, 0],
    }
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": body}


def operation(class_name: str, room: str = "numpy", **config: Any) -> Json:
    return layer(class_name, f"keras.src.ops.{room}", **config)


def function(name: str, module: str = "keras.activations", **extra: Any) -> Json:
    return {"module": module, "class_name": "function", "config": name, **extra}


def nested(depth: int) -> Json:
    inner: Json = dense()
    for index in range(depth):
        inner = sequential(inner)
        inner["config"]["name"] = f"m{index}"
    return inner


# What the file holds, and what the refusal must say.
REFUSED: dict[str, tuple[Json, str]] = {
    # Functions by name, of rooms that hold more than what may be called.
    "a function that looks functions up": (
        sequential(dense(activation=function("deserialize"))),
        "names the function 'keras.activations.deserialize'",
    ),
    "a loss that is a factory": (
        sequential(dense(activation=function("get", "keras.losses"))),
        "names the function 'keras.losses.get'",
    ),
    "a function under another name": (
        sequential(dense(activation=function("relu", registered_name="evil>relu"))),
        "names the function 'keras.activations.relu'",
    ),
    "a function of no room": (
        sequential(dense(activation=function("relu", "keras.ops"))),
        "'keras.ops.relu'",
    ),
    "an unknown function that a nested model was compiled with": (
        sequential({**sequential(dense()), "compile_config": {"loss": function("x", "builtins")}}),
        "names the function 'builtins.x'",
    ),
    "a class of a room of functions": (
        sequential(dense(kernel_initializer=layer("deserialize", "keras.initializers"))),
        "'keras.initializers.deserialize'",
    ),
    "a type specification": (
        sequential(dense(dtype={"class_name": "__typespec__", "config": [], "module": "keras"})),
        "'keras.__typespec__'",
    ),
    "a type looked up in TensorFlow": (
        sequential(dense(shape={"class_name": "TypeSpec", "type_spec": "tf.TensorSpec"})),
        "the model uses 'TypeSpec'",
    ),
    "tensors of any type": (
        sequential(dense(shape={"class_name": "CompositeTensor", "spec": {}, "tensors": []})),
        "the model uses 'CompositeTensor'",
    ),
    "a class name that no module has": (
        sequential(dense(kernel_initializer={"class_name": "anything", "config": {}})),
        "the model uses 'anything'",
    ),
    # Operations that run what a file names.
    **{
        f"the operation {room}.{name}": (
            functional(operation(name, room), tensor(), function("relu")),
            f"'keras.src.ops.{room}.{name}'",
        )
        for room, name in (
            *[("core", name) for name in ("Map", "Scan", "WhileLoop", "Cond", "ForiLoop")],
            *[("core", name) for name in ("VectorizedMap", "AssociativeScan", "Switch")],
            ("linalg", "JVP"),
            ("function", "Function"),
        )
    },
    "an operation that runs at once": (
        functional(operation("Arange"), 0, 10**9),
        "layer 'x' is called on nothing that flows in",
    ),
    # Sizes that take ten bytes to write.
    "a convolution": (
        sequential(layer("Conv2D", filters=3, kernel_size=[9999, 9999])),
        "declares filters=3, kernel_size=[9999, 9999]",
    ),
    "attention": (
        sequential(layer("MultiHeadAttention", num_heads=14, key_dim=14)),
        "declares num_heads=14, key_dim=14",
    ),
    "recurrence": (sequential(layer("LSTM", units=14)), "declares units=14"),
    "a cell": (sequential(layer("RNN", cell=layer("GRUCell", units=14))), "declares units=14"),
    "a table": (
        sequential(layer("Embedding", input_dim=14, output_dim=14)),
        "declares input_dim=14, output_dim=14",
    ),
    "a scale": (
        sequential(layer("LayerScale", "keras.src.applications.convnext", projection_dim=99)),
        "declares projection_dim=99",
    ),
    "a text for a number": (sequential(dense(units="3")), "declares units='3'"),
    "many layers that are small enough one by one": (
        sequential(*(dense(name=f"d{index}") for index in range(6))),
        "declare 18 weight values or more, but the file stores 15",
    ),
    "an input that makes weights": (
        {**sequential(dense()), "config": {"name": "n", "layers": [source([None, 99]), dense()]}},
        "declares input_shape=[None, 99]",
    ),
    "a layer built for another input": (
        sequential({**dense(), "build_config": {"input_shape": [None, 10**6]}}),
        "declares input_shape=[None, 1000000]",
    ),
    "an input of no end": (
        {**sequential(), "config": {"name": "n", "layers": [source([None, 2**31]), dense()]}},
        "declares a result of more than 1073741824 values",
    ),
    **{
        f"results of {name}": (sequential(layer(name, **config)), "declares a result of more than")
        for name, config in (
            ("RepeatVector", {"n": 10**10}),
            ("UpSampling2D", {"size": [10**6, 10**6]}),
            ("ZeroPadding2D", {"padding": [[10**9, 2], [2, 2]]}),
            ("Reshape", {"target_shape": [10**5, 10**5]}),
            ("Resizing", {"height": 10**5, "width": 10**5}),
            ("CategoryEncoding", {"num_tokens": 2**31}),
            ("Conv2DTranspose", {"filters": 1, "kernel_size": [1, 1], "strides": [10**5, 10**5]}),
            ("MelSpectrogram", {"fft_length": 2**20, "num_mel_bins": 2**20}),
        )
    },
    **{
        f"results of the operation {node['class_name']}": (
            functional(node, tensor(), *more),
            "declares a result of more than",
        )
        for node, more in (
            (operation("Tile", repeats=[1, 2**31]), ()),
            (operation("Repeat"), (2**31,)),
            (operation("BroadcastTo", shape=[10**5, 10**5]), ()),
            (operation("Pad", pad_width=[[0, 0], [2**30, 2]]), ()),
            (operation("OneHot", "nn", num_classes=2**31), ()),
            (operation("Resize", "image", size=[10**5, 10**5]), ()),
        )
    },
    "a tensor between layers": (
        functional(dense(), tensor(shape=(None, 10**6, 10**6))),
        "has more than 1073741824 values in one sample",
    ),
    # Numbers and texts that are none.
    "a number that is none": (sequential(dense(axis=float("nan"))), "the number nan is none"),
    "a number of 100 digits": (sequential(dense(seed=10**100)), "is larger than any that Keras"),
    "a text without end": (sequential(dense(data_format="x" * 2_001)), "a text of 2001 characters"),
    "a key without end": (sequential(dense(**{"x" * 2_001: 1})), "a text of 2001 characters"),
    "half a character": (sequential(dense(data_format="\ud800")), "holds half a character"),
    "a type that is markup": (
        {**sequential(), "config": {"name": "n", "layers": [source(dtype="<b>"), dense()]}},
        "has the type '<b>'",
    ),
    "depth": (nested(40), "nested more than 100 deep"),
    # Names and graphs.
    "markup beside the name": (
        functional({**dense(), "name": "<img src=x>"}, tensor()),
        "a layer is called '<img src=x>' and 'x'",
    ),
    "a name for output that no layer has": (
        functional(dense(), tensor(), ends=["<b>x</b>", 0, 0]),
        "'<b>x</b>' is named in the graph; there is no such layer",
    ),
    "a tensor of no layer": (
        functional(dense(), tensor(["../etc", 0, 0])),
        "'../etc' is named in the graph",
    ),
    "one name twice": (sequential(dense(), dense()), "two layers are called 'x'"),
    "another shape than the input's": (
        functional(dense(), tensor(shape=(None, 2))),
        "the input 'in' has the shape [None, 4], but a layer takes [None, 2] from it",
    ),
    "an initializer among the layers": (
        sequential(layer("Zeros", "keras.initializers")),
        "'Zeros' ('x') is no layer",
    ),
    # Files beside the model.
    "words in a file of the reader's disk": (
        sequential(layer("TextVectorization", vocabulary="/etc/passwd")),
        "has its vocabulary not in the model's configuration but elsewhere: '/etc/passwd'",
    ),
    "words in no file": (sequential(layer("IntegerLookup", vocabulary=None)), "elsewhere: None"),
}


def refusal(read: Callable[[Any], object], file: Any) -> str:
    with pytest.raises(RejectedUpload) as caught:
        read(file)
    assert len(caught.value.detail) < 600
    assert caught.value.detail.isprintable()
    return caught.value.detail


@pytest.mark.parametrize("case", REFUSED)
def test_read_keras_refuses(case: str) -> None:
    config, why = REFUSED[case]
    assert why in refusal(read_keras, archive(config, WEIGHTS))


@pytest.mark.parametrize("case", REFUSED)
def test_read_h5_refuses_the_same_under_names_without_modules(case: str) -> None:
    config, _ = REFUSED[case]
    stored = {f"model_weights/{path}": array for path, array in WEIGHTS.items()}
    refusal(read_h5, hdf5(stored, model_config=json.dumps(without_modules(config))))


def without_modules(value: Any) -> Any:
    if isinstance(value, list):
        return [without_modules(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: without_modules(item) for key, item in value.items() if key != "module"}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (dense(), "Save it in Keras 2 with model.save('name.h5')"),
        (layer("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer"), "model.export('folder')"),
        (layer("SlicingOpLambda"), "model.export('folder')"),
        (sequential(dense()), "model.export('folder')"),
    ],
)
@pytest.mark.parametrize("module", ["tf_keras.src", "keras.src", "keras"])
def test_refusal_of_a_functional_file_of_keras_2_says_what_can_be_uploaded(
    module: str, second: Json, said: str
) -> None:
    file = functional(second, tensor()) | {"module": f"{module}.engine.functional"}
    with pytest.raises(RejectedUpload, match=r"Functional' .* not among the layers") as refused:
        read_keras(archive(file, WEIGHTS))
    assert said in str(refused.value.hint)


def test_refusal_of_a_tensorflow_operation_of_keras_2_does_not_tell_to_save_again() -> None:
    """As `.h5` it would be refused again."""
    file = hdf5(WEIGHTS, model_config=json.dumps(sequential(layer("TFOpLambda", None))))
    with pytest.raises(RejectedUpload, match="the model uses 'TFOpLambda'") as refused:
        read_h5(file)
    assert "model.export('folder')" in str(refused.value.hint)


def test_refusal_says_where_in_the_configuration() -> None:
    config = sequential(dense(kernel_initializer=layer("system", "os")))
    told = refusal(read_keras, archive(config, WEIGHTS))
    assert told.endswith("(at /config/layers/1/config/kernel_initializer)")


def test_read_keras_takes_the_bare_parts_that_the_hostile_files_are_made_of() -> None:
    read_keras(archive(sequential(dense(activation=function("relu", "builtins"))), WEIGHTS))
    read_keras(archive(functional(dense(), tensor()), WEIGHTS))
    read_keras(archive(functional(operation("Tile", repeats=[1, 2]), tensor()), WEIGHTS))


def own(class_name: str, module: str | None = None, **extra: Any) -> Json:
    return {"module": module, "class_name": class_name, "config": {"name": "x"}, **extra}


# What Keras 3, and Keras 2 in .h5 files, write for a loss of the author's own, and its name.
OWN_LOSSES: dict[str, tuple[Any, str]] = {
    "a function": (function("my_loss", "builtins", registered_name="function"), "my_loss"),
    "a registered function": (function("pack>my_loss", "builtins"), "pack>my_loss"),
    "a class": (own("MyLoss", registered_name="MyLoss"), "MyLoss"),
    "a registered class": (own("MyLoss", registered_name="my-pack>MyLoss"), "my-pack>MyLoss"),
    "a class of a package": (own("MyLoss", "mine.losses", registered_name="MyLoss"), "MyLoss"),
    "a class in .h5": ({"class_name": "pack>MyLoss", "config": {}}, "pack>MyLoss"),
    "a class called like one of Keras": (
        own("MeanSquaredError", "mine", registered_name="mine>MeanSquaredError"),
        "mine>MeanSquaredError",
    ),
}


@pytest.mark.parametrize("case", OWN_LOSSES)
def test_read_keras_takes_what_authors_compiled_their_own_models_with(case: str) -> None:
    loss, name = OWN_LOSSES[case]
    metrics = [own("Mine", registered_name="Mine")]
    compiled = {"loss": {"x": loss}, "metrics": metrics, "optimizer": own("pack>MySGD")}
    facts = read_keras(archive(sequential(dense(), compile_config=compiled), WEIGHTS))
    assert facts.heads[0].compiled_loss is None
    assert len(facts.notes) == 1
    assert f"compiled with '{name}'; that loss is not known here: name one" in facts.notes[0]


@pytest.mark.parametrize(
    "loss",
    [
        function("abort", "os"),
        function("system", "posix"),
        function("eval", "builtins"),
        function("get_file", "keras.utils"),
        function("x;y", "builtins"),
        function("my_loss", "mine/../os"),
        own("Popen", "subprocess"),
        own("object", "builtins"),
        own("Lambda", "keras.layers"),
        own("TorchModuleWrapper", "keras.layers"),
        own("MyLoss", registered_name="<b>"),
        own("My Loss"),
        own("__lambda__"),
        own("TypeSpec"),
    ],
)
def test_read_keras_refuses_to_be_compiled_with_what_no_author_wrote(loss: Json) -> None:
    config = sequential(dense(), compile_config={"loss": loss})
    told = refusal(read_keras, archive(config, WEIGHTS))
    assert told.endswith("(at /loss)")


def test_read_keras_refuses_own_classes_where_they_would_be_loaded() -> None:
    """Keras loads what a nested model was compiled with."""
    inner = {**sequential(dense()), "compile_config": {"loss": own("MyLoss")}}
    assert "the model uses 'MyLoss'" in refusal(read_keras, archive(sequential(inner), WEIGHTS))


def test_read_keras_counts_a_shared_layer_once() -> None:
    """Of nine models inside the model, each with a Dense of 15 values that is the same one."""
    shared = {**dense(name="d"), "shared_object_id": 7}
    models = [sequential({**shared}) for _ in range(9)]
    for number, model in enumerate(models):
        model["config"]["name"] = f"m{number}"
    read_keras(archive(sequential(*models), {"layers/sequential/layers/dense/vars/0": np.ones(15)}))


@pytest.mark.parametrize("name", ["assets/lookup/vocabulary.txt", "x.py", "model.weights.json"])
def test_read_keras_refuses_files_beside_the_model(name: str) -> None:
    file = archive(sequential(dense()), WEIGHTS, **{name: b"x"})
    assert f"holds '{name}' beside the model" in refusal(read_keras, file)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" + "[]," * 500_001, "more than 500000 lists and objects"),
        ('{"a": ' + "9" * 5_000 + "}", "a number of too many digits"),
        ('{"a": NaN, "class_name": "Sequential", "config": 3}', "does not hang together"),
    ],
)
def test_read_keras_refuses_json_that_takes_too_much_to_read(config: str, why: str) -> None:
    assert why in refusal(read_keras, archive(config, WEIGHTS))


def test_read_keras_refuses_weights_that_begin_further_on() -> None:
    shifted = bytes(512) + hdf5(WEIGHTS).getvalue()
    assert "is not HDF5 data" in refusal(read_keras, archive(sequential(dense()), shifted))


def test_read_keras_reads_values_of_two_bytes_that_hdf5_has_no_type_for() -> None:
    values = np.full((4, 3), 0x3F80, "<u2")
    assert read_keras(bfloat16_file(values)).parameter_count == 12
    values[1, 1] = 0x7FC0
    assert "1 of 12 values" in refusal(read_keras, bfloat16_file(values))


def bfloat16_file(values: Any) -> Any:
    file = hdf5({"layers/dense/vars/0": values.view("V2")})
    with h5py.File(file, "r+") as written:
        written["layers/dense/vars/0"].attrs["dtype"] = "bfloat16"
    return archive(sequential(dense()), file.getvalue())


def built(class_name: str, shapes: Any, **config: Any) -> Json:
    build = shapes if isinstance(shapes, dict) else {"input_shape": shapes}
    return {**layer(class_name, **config), "build_config": build}


HUGE = 2**28
EINSUM = {"equation": "ab,bc->ac", "output_shape": 2}
MAKES_WEIGHTS: dict[str, Json] = {
    "BatchNormalization": built("BatchNormalization", [None, HUGE]),
    "BatchNormalization of another axis": built("BatchNormalization", [None, HUGE, 4], axis=1),
    "LayerNormalization": built("LayerNormalization", [None, 2**14, 2**14], axis=[1, 2]),
    "Normalization": built("Normalization", [None, HUGE], axis=-1, mean=None),
    "PReLU": built("PReLU", [None, 2**14, 2**14]),
    "EinsumDense by what comes in": built("EinsumDense", [None, HUGE], **EINSUM),
    "EinsumDense by what it makes": layer(
        "EinsumDense", equation="...b,bc->...c", output_shape=HUGE
    ),
    "MultiHeadAttention": built(
        "MultiHeadAttention",
        {"shapes_dict": {"query_shape": [1, 2, 4], "value_shape": [1, 2, HUGE]}},
        num_heads=1,
        key_dim=1,
    ),
    "AdditiveAttention": built("AdditiveAttention", {"input_shape": [[1, 2, HUGE], [1, 2, HUGE]]}),
    "inside a wrapper": layer(
        "TimeDistributed", layer={**dense(units=1), "build_config": {"input_shape": [None, HUGE]}}
    ),
    "as its wrapper was built": built("TimeDistributed", [None, 1, HUGE], layer=dense(units=1)),
    "of any class": built("Dropout", [None, 2**31], rate=0.1),
}


@pytest.mark.parametrize("name", MAKES_WEIGHTS)
def test_weights_made_for_a_shape_are_no_more_than_the_file_stores(name: str) -> None:
    with pytest.raises(RejectedUpload, match=r"weight values in all|more than .* values"):
        read_keras(archive(sequential(MAKES_WEIGHTS[name], dense()), WEIGHTS))


def test_weights_of_many_layers_are_counted_together() -> None:
    several = [built("BatchNormalization", [None, 4], name=f"b{index}") for index in range(5)]
    with pytest.raises(RejectedUpload, match="up to here the layers declare"):
        read_keras(archive(sequential(*several, dense()), WEIGHTS))


def test_layer_that_nested_models_have_in_common_counts_once() -> None:
    norm = built("BatchNormalization", [None, 3], name="shared")
    arrays: dict[str, Any] = {
        "layers/sequential/layers/batch_normalization/vars/0": np.ones(3, "f4"),
        "layers/sequential/layers/batch_normalization/vars/1": np.ones(2, "f4"),
    }
    first, second = sequential(norm), sequential(norm)
    first["config"]["name"], second["config"]["name"] = "first", "second"
    facts = read_keras(archive(sequential(first, second), arrays))
    assert facts.parameter_count == 5


def test_weights_of_a_layer_with_two_names_are_its_own() -> None:
    arrays = {"layers/grouped_query_attention/vars/0": np.ones(64, "f4")}
    attention = layer("GroupQueryAttention", head_dim=2, num_query_heads=2, num_key_value_heads=1)
    facts = read_keras(archive(sequential(attention), arrays))
    assert facts.layers[1].parameter_count == 64


SQUARE = [None, 2**10, 2**10]
LARGE_RESULTS: dict[str, list[Json]] = {
    "longer and longer": [layer("UpSampling1D", size=2**8, name=f"u{index}") for index in range(4)],
    "a flat one of a lie": [layer("Flatten"), layer("RepeatVector", n=2**11)],
}


@pytest.mark.parametrize("name", LARGE_RESULTS)
def test_results_along_a_chain_are_worked_out(name: str) -> None:
    layers = [source(SQUARE), *LARGE_RESULTS[name]]
    for index, each in enumerate(layers[1:]):
        each["config"]["name"] = f"x{index}"
    model = sequential(*layers[1:])
    model["config"]["layers"][0] = layers[0]
    with pytest.raises(RejectedUpload, match="makes a result of the shape"):
        read_keras(archive(model, {}))


@pytest.mark.parametrize(
    ("kind", "config", "times"),
    [
        ("Outer", {}, 2),
        ("Kron", {}, 2),
        ("Diagflat", {"k": 0}, 1),
        ("Concatenate", {"axis": -1}, 2000),
        ("Meshgrid", {"indexing": "xy"}, 2),
        ("Einsum", {"subscripts": "ab,cd->abcd"}, 2),
        ("Einsum", {"subscripts": "ab->" + "a" * 20}, 1),
    ],
)
def test_operations_that_make_much_of_little_are_refused(
    kind: str, config: Json, times: int
) -> None:
    wide = [None, 2**20]
    args = [tensor(shape=wide)] * times
    called = [args] if kind == "Concatenate" else args
    model = functional(operation(kind, **config), *called, first=source(wide))
    with pytest.raises(RejectedUpload, match=f"{kind} 'x' makes a result"):
        read_keras(archive(model, {}))


@pytest.mark.parametrize("kind", ["Linspace", "Logspace", "Geomspace"])
def test_ranges_of_any_length_are_refused(kind: str) -> None:
    model = functional(operation(kind, num=2**40, axis=0, dtype=None), tensor(), 3.0)
    with pytest.raises(RejectedUpload, match="declares a result of more than"):
        read_keras(archive(model, {}))


WINDOW = {"sequence_length": 2048, "sequence_stride": 512, "fft_length": 2048}
PICTURE, SOUND = (None, 64, 64, 3), (None, 220_500)


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (layer("ZeroPadding2D", padding=[[200, 200], [200, 200]]), PICTURE),
        (layer("ZeroPadding1D", padding=[40_000, 40_000]), (None, 8, 3)),
        (operation("Pad", pad_width=[[0, 0], [200, 200], [200, 200], [0, 0]]), PICTURE),
        (operation("ExtractPatches", "image", size=[256, 256], strides=[256, 256]), PICTURE),
        (
            operation("PadImages", "image", **dict.fromkeys(SIDES, 200)),
            PICTURE,
        ),
        (operation("Repeat", repeats=list(range(1, 65)), axis=1), (None, 64)),
        (operation("STFT", "math", **WINDOW), SOUND),
        (operation("ISTFT", "math", **WINDOW, length=220_500), SOUND),
        (
            layer("TextVectorization", **WORDS, max_tokens=10**6, output_sequence_length=2048),
            (None, 1),
        ),
    ],
)
def test_numbers_that_do_not_multiply_are_not_multiplied(
    node: Json, shape: tuple[int | None, ...]
) -> None:
    model = functional(node, tensor(shape=shape), first=source(list(shape)))
    assert read_keras(archive(model, {})).layer_count == 2


@pytest.mark.parametrize(
    "node",
    [
        operation("STFT", "math", **{**WINDOW, "fft_length": 2**31}),
        operation("ExtractPatches", "image", size=[10**5, 10**5], strides=[1, 1]),
        operation("PadImages", "image", **dict.fromkeys(SIDES, 10**5)),
        operation("PadImages", "image", target_height=10**5, target_width=10**5),
        operation("Pad", pad_width=2**30),
        operation("Repeat", repeats=[2**29, 2**29, 1], axis=1),
        operation("Pad", pad_width=[[-(2**30), 2**30]]),
        layer("ZeroPadding1D", padding=[2**29, 2**29 + 1]),
    ],
)
def test_windows_and_borders_of_no_end_are_refused(node: Json) -> None:
    with pytest.raises(RejectedUpload, match="declares a result of more than"):
        read_keras(archive(functional(node, tensor()), {}))


def test_borders_around_borders_are_added_up() -> None:
    node, shape = operation("Pad", pad_width=[[2**14, 2**14]]), (None, 2, 2, 2)
    model = functional(node, tensor(shape=shape), first=source(list(shape)))
    with pytest.raises(RejectedUpload, match=r"makes a result of the shape \[None, 32770, 32770"):
        read_keras(archive(model, {}))


@pytest.mark.parametrize("path", ["layers/junk/vars/0", "layers/dense_1/vars/0", "junk/vars/0"])
def test_weights_of_no_layer_are_refused(path: str) -> None:
    arrays = {**WEIGHTS, path: np.ones(1000, "f4")}
    with pytest.raises(RejectedUpload, match=f"stores the weight '{path}'"):
        read_keras(archive(sequential(dense()), arrays))


def test_weights_of_no_layer_of_an_h5_file_are_refused() -> None:
    arrays = {"model_weights/x/x/kernel:0": np.ones((4, 3)), "model_weights/y/0": np.ones(9)}
    file = hdf5(arrays, model_config=json.dumps(sequential(dense(units=3))))
    with pytest.raises(RejectedUpload, match="'model_weights/y/0', which belongs to no layer"):
        read_h5(file)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"activation": "os.system"}, "has the activation 'os.system'"),
        ({"kernel_initializer": "keras.utils.get_file"}, "has the kernel_initializer"),
        ({"bias_regularizer": "evil"}, "has the bias_regularizer 'evil'"),
        ({"kernel_constraint": "evil"}, "has the kernel_constraint 'evil'"),
        ({"activation": ["relu"]}, r"has the activation \['relu'\]"),
        ({"kernel_initializer": {"config": {}}}, "has the kernel_initializer"),
        ({"stateful": True}, "Dense 'x' is stateful"),
        ({"dtype": "string"}, "has the dtype 'string'"),
        ({"dtype": "int8_from_int8"}, "something has the type"),
        ({"seed": 2**63}, "the seed 9223372036854775808"),
    ],
)
def test_texts_and_numbers_of_a_closed_meaning_are_known_ones(config: Json, said: str) -> None:
    with pytest.raises(RejectedUpload, match=said):
        read_keras(archive(sequential(dense(**config)), WEIGHTS))


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (layer("Dropout", rate="0.2; import os"), "rate='0.2; import os'; a number from 0 to 1"),
        (layer("Dropout", rate=-5), "rate=-5; a number from 0 to 1"),
        (layer("SpatialDropout1D", rate=1.5), "rate=1.5; a number from 0 to 1"),
        (layer("Dropout", rate=float("inf")), "rate=inf; a number from 0 to 1"),
        (layer("Dropout", rate=True), "rate=True; a number from 0 to 1"),
        (layer("MultiHeadAttention", num_heads=1, key_dim=1, dropout="1"), "dropout='1'"),
        (layer("ReLU", max_value=float("inf")), "the number inf is none"),
        (layer("Rescaling", scale=[1.0, float("-inf")]), "the number -inf is none"),
        (operation("OneHot", "nn", num_classes=1e15), "num_classes=1000000000000000.0; a whole"),
        (operation("Tile", repeats=[1e12, 1]), "a whole number belongs there"),
        (layer("UpSampling1D", size=2.0), "UpSampling1D 'x' has size=2.0; a whole number"),
        (layer("Discretization", num_bins=10**9), "has bin_boundaries=None"),
        (operation("Where", condition=float("nan")), "the number nan is none"),
    ],
)
def test_numbers_are_of_the_kind_that_keras_takes(node: Json, said: str) -> None:
    with pytest.raises(RejectedUpload) as caught:
        read_keras(archive(functional(node, tensor()), WEIGHTS))
    assert said in caught.value.detail
    assert caught.value.hint


@pytest.mark.parametrize("function", [function("square", "builtins"), "square"])
def test_lambda_that_names_a_function_is_told_which(function: Any) -> None:
    with pytest.raises(RejectedUpload, match=r"a Lambda \(layer 'x'\) that names square") as caught:
        read_keras(archive(sequential(layer("Lambda", function=function)), {}))
    assert (caught.value.hint or "").startswith("Call keras.ops.square directly")


def test_operations_may_be_given_infinity() -> None:
    """As scores are masked, and a maximum begins."""
    node = operation("Max", initial=float("-inf"), axis=None, keepdims=False)
    read_keras(archive(functional(node, tensor(), float("-inf")), {}))


def test_keys_that_stand_twice_are_refused() -> None:
    text = json.dumps(sequential(dense())).replace('"units": 3', '"units": 3, "units": 3')
    with pytest.raises(RejectedUpload, match=r"config\.json: the key 'units' stands twice"):
        read_keras(archive(text, WEIGHTS))


def test_sequential_that_was_never_built_is_called_so() -> None:
    model = sequential(dense())
    del model["config"]["layers"][0]
    with pytest.raises(RejectedUpload, match="was never built"):
        read_keras(archive(model, {}))


def test_refusal_says_where_a_layer_stands() -> None:
    model = functional(layer("Zeros", "keras.initializers"), tensor())
    with pytest.raises(RejectedUpload, match=r"is no layer \(at /config/layers/1\)"):
        read_keras(archive(model, {}))


# Graphs that Keras cannot put together, or puts together otherwise than they were looked at.


def called(name: str, *feeds: list[Any], node: Json | None = None) -> Json:
    """A layer that is called on these tensors, one after the other."""
    made = node or layer("ReLU")
    calls = [{"args": [tensor(feed)], "kwargs": {}} for feed in feeds]
    inside = {**made["config"], "name": name}
    return {**made, "name": name, "config": inside, "inbound_nodes": calls}


def graph(*layers: Json, ends: list[Any], name: str = "net") -> Json:
    whole = functional(layer("ReLU"), tensor())
    begin = whole["config"]["layers"][0]
    body = {**whole["config"], "name": name, "layers": [begin, *layers], "output_layers": ends}
    return {**whole, "name": name, "config": body}


LOST = called("b", HISTORY), called("x", HISTORY)
OTHER_INPUT = {**called("other"), "class_name": "InputLayer"}
OTHER_INPUT["config"] = {"name": "other", "batch_shape": [None, 4]}
BROKEN_GRAPHS: dict[str, tuple[Json, str]] = {
    "a circle": (
        graph(called("a", ["b", 0, 0]), called("b", ["a", 0, 0]), ends=["a", 0, 0]),
        "layer 'a' waits for what it makes itself",
    ),
    "a circle beside the way": (
        graph(called("x", HISTORY), called("a", ["a", 0, 0]), ends=["x", 0, 0]),
        "layer 'a' waits for what it makes itself",
    ),
    "a call behind a circle": (
        graph(called("x", ["a", 0, 0]), called("a", ["a", 0, 0]), ends=["x", 0, 0]),
        "layer 'a' waits for what it makes itself",
    ),
    "a call that is never made": (
        graph(called("x", ["in", 7, 0]), ends=["x", 0, 0]),
        "output 0 of call 7 of layer 'in' is taken",
    ),
    # Keras counts from the end.
    "a call before the first": (
        graph(called("x", ["in", -1, 0]), ends=["x", 0, 0]),
        "output 0 of call -1 of layer 'in' is taken",
    ),
    "an output of a call that is never made": (
        graph(called("x", HISTORY), ends=["x", 3, 0]),
        "output 0 of call 3 of layer 'x' is taken",
    ),
    "a second output of a layer that has one": (
        graph(called("x", HISTORY), ends=["x", 0, 1]),
        "output 1 of call 0 of layer 'x' is taken",
    ),
    # Keras leaves these out of the model.
    "a layer that is never called": (
        graph(called("x", HISTORY), called("y", node=dense()), ends=["x", 0, 0]),
        "no output of the model depends on layer 'y'",
    ),
    "a layer that leads nowhere": (
        graph(*LOST, ends=["x", 0, 0]),
        "no output of the model depends on layer 'b'",
    ),
    "a call that leads nowhere": (
        graph(called("x", HISTORY, ["x", 0, 0]), ends=["x", 0, 0]),
        "no output of the model depends on layer 'x', or on a call of it",
    ),
    "an input that is not named": (
        graph(called("x", ["other", 0, 0]), OTHER_INPUT, ends=["x", 0, 0]),
        "'other' is none of the inputs that the model names",
    ),
    "calls without end": (
        graph(called("x", HISTORY, *(["x", at, 0] for at in range(20_000))), ends=["x", 20_000, 0]),
        "are called 20001 times in all; 20000 are taken",
    ),
}


@pytest.mark.parametrize("case", BROKEN_GRAPHS)
def test_graphs_that_keras_cannot_put_together_are_refused(case: str) -> None:
    config, said = BROKEN_GRAPHS[case]
    with pytest.raises(RejectedUpload) as caught:
        read_keras(archive(config, WEIGHTS))
    assert said in caught.value.detail


@pytest.mark.parametrize(("wrap", "levels"), [(None, 30), ("TimeDistributed", 18)])
def test_models_that_call_each_other_twice_are_counted_as_often_as_they_run(
    wrap: str | None, levels: int
) -> None:
    """Thirty levels take a few kB to write, and a billion calls to run."""
    model = graph(called("x", HISTORY), ends=["x", 0, 0], name="m0")
    for level in range(1, levels):
        node = {**layer(wrap, layer=model)} if wrap else model
        name = f"w{level}" if wrap else model["name"]
        inner = called(name, HISTORY, [name, 0, 0], node=node)
        model = graph(inner, ends=[name, 1 if wrap else 2, 0], name=f"m{level}")
    with pytest.raises(RejectedUpload, match=f"are called {2 ** (levels - 1)} times in all"):
        read_keras(archive(model, {}))


def test_graph_follows_a_nested_model_from_call_to_call() -> None:
    """Keras counts the making of a nested model in a model's outputs, and nowhere else."""
    inner = graph(called("x", HISTORY), ends=["x", 0, 0], name="inner")
    twice = called("inner", HISTORY, ["inner", 0, 0], node=inner)
    assert read_keras(archive(graph(twice, ends=["inner", 2, 0]), {})).outputs[0].shape == (4,)
    last = called("last", ["inner", 1, 0])
    assert read_keras(archive(graph(twice, last, ends=["last", 0, 0]), {})).layer_count == 4


NUMBERS: dict[str, tuple[Json, str]] = {
    "AugMix, chains": (layer("AugMix", num_chains=10**6), "has num_chains=1000000"),
    "AugMix, depth": (layer("AugMix", chain_depth=10**6), "has chain_depth=1000000"),
    "RandAugment": (layer("RandAugment", num_ops=10**6), "has num_ops=1000000"),
    "ngrams": (
        layer("TextVectorization", vocabulary=["a"], ngrams=10**8),
        "has ngrams=100000000",
    ),
    "power iterations": (
        layer("SpectralNormalization", layer=dense(), power_iterations=10**6),
        "has power_iterations=1000000",
    ),
    "Split": (operation("Split", indices_or_sections=10**6), "has indices_or_sections=1000000"),
    "Unstack": (operation("Unstack", "core", num=10**6), "has num=1000000"),
    "Equalization": (layer("Equalization", bins=2**31), "declares a result of more than"),
    "blur": (layer("RandomGaussianBlur", kernel_size=[2**16, 2**16]), "declares a result"),
    "blur, an operation": (
        operation("GaussianBlur", "image", kernel_size=[2**16, 2**16]),
        "result",
    ),
    "SSIM": (operation("SSIM", "image", filter_size=2**31), "declares a result"),
    "segments": (operation("SegmentSum", "math", num_segments=2**31), "declares a result"),
    "Diag": (operation("Diag", k=2**31), "declares a result"),
    "dilation": (
        dense() | layer("Conv1D", filters=1, kernel_size=[1], dilation_rate=2**31),
        "result",
    ),
    "LoRA": (dense(lora_rank=10**6), "declares units=3, lora_rank=1000000"),
    "LoRA, by what comes in": (dense(lora_rank=5), "declares input_shape=[None, 4]"),
    "LoRA of a table": (
        layer("Embedding", input_dim=3, output_dim=2, lora_rank=10**6),
        "declares input_dim=3, lora_rank=1000000",
    ),
    "LoRA of an equation": (
        layer("EinsumDense", equation="ab,bc->ac", output_shape=[None, 3], lora_rank=15),
        "declares input_shape=[None, 4]",
    ),
    "attention": (
        layer("MultiHeadAttention", num_heads=1, key_dim=1, value_dim=1, output_shape=10**6),
        "value_dim=1, output_shape=1000000",
    ),
    "spectrogram": (layer("STFTSpectrogram", frame_length=10**6), "declares frame_length=1000000"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_that_make_a_layer_large_or_slow_are_held_down(case: str) -> None:
    node, said = NUMBERS[case]
    with pytest.raises(RejectedUpload) as caught:
        read_keras(archive(functional(node, tensor()), WEIGHTS))
    assert said in caught.value.detail


@pytest.mark.parametrize("kind", ["__numpy__", "__tensor__"])
@pytest.mark.parametrize("dtype", [{"names": ["a"], "formats": ["S999999999"]}, ["S9"], None])
def test_constants_are_of_a_type_with_a_name(kind: str, dtype: Any) -> None:
    constant = {"class_name": kind, "config": {"value": [1], "dtype": dtype}}
    with pytest.raises(RejectedUpload, match="which is no name of one"):
        read_keras(archive(functional(operation("Add"), tensor(), constant), {}))


def test_what_is_shared_is_the_same_wherever_it_stands() -> None:
    relu = layer("ReLU", name="a") | {"shared_object_id": 7}
    again, other = relu | {}, layer("Dropout", name="a", rate=0.5) | {"shared_object_id": 7}
    taken = read_keras(archive(sequential(layer("Pipeline", layers=[relu, again])), {}))
    assert taken.layer_count == 2
    with pytest.raises(RejectedUpload, match="'Dropout' is said to be the object 7, which is an"):
        read_keras(archive(sequential(layer("Pipeline", layers=[relu, other])), {}))


@pytest.mark.parametrize(
    ("module", "kind"), [("keras.models", "Functional"), ("keras", "Functional")]
)
def test_models_are_taken_under_names_that_keras_finds_them_by(module: str, kind: str) -> None:
    model = functional(dense(), tensor()) | {"module": module, "class_name": kind}
    with pytest.raises(RejectedUpload, match=f"the model uses '{module}.{kind}'"):
        read_keras(archive(model, WEIGHTS))


SECOND_INPUT = {**source([None, 5]), "name": "five", "inbound_nodes": []}
SECOND_INPUT["config"] = {**SECOND_INPUT["config"], "name": "five"}


def merged(node: Json, shape: list[Any]) -> Json:
    """A layer that is called on the input of four values and one of another shape."""
    other = {**SECOND_INPUT, "config": {**SECOND_INPUT["config"], "batch_shape": shape}}
    model = functional(node, [tensor(), tensor(["five", 0, 0], shape)])
    model["config"]["layers"].insert(1, other)
    model["config"]["input_layers"] = [["in", 0, 0], ["five", 0, 0]]
    return model


UNFIT: dict[str, tuple[Json, bool]] = {
    "a sum of four and five": (merged(layer("Add"), [None, 5]), False),
    "a sum of four and one": (merged(layer("Add"), [None, 1]), True),
    "a sum of four and any": (merged(layer("Add"), [None, None]), True),
    "a sum of two ranks": (merged(layer("Add"), [None, 5, 4]), True),
    "a row of four and five": (merged(layer("Concatenate", axis=-1), [None, 5]), True),
    "rows of four and five": (merged(layer("Concatenate", axis=0), [None, 5]), False),
    "weights for any length": (
        functional(dense(), tensor(shape=(None, None)), first=source([None, None])),
        False,
    ),
    "four values as five": (functional(layer("Reshape", target_shape=[5]), tensor()), False),
    "four values in threes": (functional(layer("Reshape", target_shape=[-1, 3]), tensor()), False),
    "four values in twos": (functional(layer("Reshape", target_shape=[-1, 2]), tensor()), True),
}


@pytest.mark.parametrize("case", UNFIT)
def test_layers_are_called_on_what_fits_them(case: str) -> None:
    model, is_taken = UNFIT[case]
    file = archive(model, WEIGHTS if "Dense" in json.dumps(model) else {})
    if is_taken:
        assert read_keras(file).layers[-1].name == "x"
    else:
        with pytest.raises(RejectedUpload, match="'x' is called on what does not fit"):
            read_keras(file)
