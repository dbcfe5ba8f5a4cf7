"""SavedModels: honest ones in `files/`, and what no honest program writes.

dense_exported and dense_saved: `Input((8,))`, Dense(4, relu) `a`, Dense(3, softmax) `b` of Keras
3.15, by model.export and tf.saved_model.save; dense_keras2: the same of Keras 2, by model.export.
gru_exported: `Input((8, 4))`, GRU(5), Dense(3, softmax). words_exported: a StringLookup of three
words. norm_saved: `Input((8, 4))`, BatchNormalization.
"""

import random
import struct
from typing import Any

import pytest

from app.errors import RejectedUpload
from app.recipes.facts import ModelFacts
from app.recipes.saved_model_files import GRAPH, INDEX, shard_name
from app.uploads.inspector.saved_model import messages as m
from app.uploads.inspector.saved_model.file import read_saved_model
from app.uploads.inspector.saved_model.table import read_table
from app.uploads.inspector.saved_model.wire import Kind, Schema, Wire
from tests.app.uploads.inspector.saved_models import (
    FLOAT,
    INT,
    PLACEHOLDER,
    SERVING,
    SOFTMAX,
    STRING,
    calling,
    constant,
    encoded,
    field,
    function,
    graph,
    info,
    mapped,
    members_of,
    node,
    saved_model,
    shape,
    signature,
    table,
    zipped,
)

SHARD = shard_name(0, 1)
BIAS = "variables/1/.ATTRIBUTES/VARIABLE_VALUE"


def read(content: bytes, **files: bytes) -> ModelFacts:
    return read_saved_model(zipped({GRAPH: content, **files}))


def read_file(name: str, **changed: bytes) -> ModelFacts:
    return read_saved_model(zipped({**members_of(name), **changed}))


def test_read_saved_model_counts_what_the_signature_computes_with() -> None:
    """model.export stores every variable twice, once for the signature."""
    facts = read_file("dense_exported")
    assert [(spec.name, spec.shape, spec.dtype) for spec in facts.inputs] == [
        ("keras_tensor", (8,), "float32")
    ]
    assert [(head.output, head.activation, head.units) for head in facts.heads] == [
        ("output_0", "softmax", 3)
    ]
    assert [(one.name, one.class_name, one.parameter_count) for one in facts.layers] == [
        ("a", "MatMul", 36),
        ("b", "MatMul", 15),
    ]
    assert (facts.parameter_count, facts.is_recurrent, facts.is_quantized) == (51, False, False)


@pytest.mark.parametrize(
    ("name", "count", "is_recurrent"),
    [
        ("dense_saved", 51, False),
        ("dense_keras2", 51, False),
        ("gru_exported", 183, True),
        ("words_exported", 0, False),
        ("norm_saved", 16, False),
    ],
)
def test_read_saved_model_takes_what_honest_programs_write(
    name: str, count: int, is_recurrent: bool
) -> None:
    facts = read_file(name)
    assert (facts.parameter_count, facts.is_recurrent) == (count, is_recurrent)


@pytest.mark.parametrize(("dtype", "name"), [(19, "float16"), (14, "bfloat16")])
@pytest.mark.parametrize("is_inside", [False, True])
def test_read_saved_model_refuses_products_in_sixteen_bits(
    dtype: int, name: str, *, is_inside: bool
) -> None:
    half = encoded(m.ATTRIBUTE, type=dtype)
    if is_inside:
        inner = function("inner", node("s", "MatMul", "x", "x", T=half), result="s:y:0")
        call = node("y", "PartitionedCall", "x", f=calling("inner"))
        content = graph(PLACEHOLDER, call, functions=[inner])
    else:
        content = graph(PLACEHOLDER, node("y", "MatMul", "x", "x", T=half))
    with pytest.raises(RejectedUpload, match=f"computes in {name}") as caught:
        read(saved_model(content))
    assert "float32" in (caught.value.hint or "")


def test_read_saved_model_takes_the_least_there_can_be() -> None:
    assert read(saved_model()).heads[0].activation == "softmax"


def test_read_saved_model_looks_for_the_end_inside_functions() -> None:
    inner = function("inner", node("s", "Sigmoid", "x"), result="s:y:0")
    outer = function("outer", node("c", "PartitionedCall", "x", f=calling("inner")), result="c:o:0")
    call = node("y", "PartitionedCall", "x", f=calling("outer"))
    content = graph(PLACEHOLDER, call, functions=[inner, outer])
    assert read(saved_model(content)).heads[0].activation == "sigmoid"


def test_read_saved_model_follows_a_function_that_stands_in_the_place_of_an_operator() -> None:
    """TensorFlow looks for a function first, even where an operator is called the same."""
    softmax = function("Relu", node("s", "Softmax", "x"), result="s:y:0")
    content = graph(PLACEHOLDER, node("y", "Relu", "x"), functions=[softmax])
    assert read(saved_model(content)).heads[0].activation == "softmax"


@pytest.mark.parametrize("operator", ["IteratorGetNext", "OptionalGetValue", "StridedSliceGrad"])
def test_read_saved_model_takes_what_keras_2_trained_and_adapted_with(operator: str) -> None:
    unused = function("f", node("g", operator, "x"))
    assert read(saved_model(graph(PLACEHOLDER, SOFTMAX, functions=[unused]))).heads


@pytest.mark.parametrize("operator", ["IteratorV2", "AnonymousIteratorV3", "OneShotIterator"])
def test_read_saved_model_refuses_what_makes_iterators(operator: str) -> None:
    unused = function("f", node("g", operator, "x"))
    with pytest.raises(RejectedUpload, match=f"'{operator}' is not allowed"):
        read(saved_model(graph(PLACEHOLDER, SOFTMAX, functions=[unused])))


def chain(length: int, calls: int = 1, *, is_innermost_first: bool = False) -> bytes:
    """Functions f0, f1, ... of which each calls the next one some times."""
    functions = [
        function(
            f"f{k}",
            *(node(f"n{i}", "PartitionedCall", "x", f=calling(f"f{k + 1}")) for i in range(calls)),
        )
        for k in range(length)
    ]
    last = function(f"f{length}")
    call = node("y", "PartitionedCall", "x", f=calling("f0"))
    ordered = [*functions, last]
    return graph(PLACEHOLDER, call, functions=ordered[::-1] if is_innermost_first else ordered)


CALL = node("c", "PartitionedCall", "x", f=calling("f"))
SELF = function("f", CALL)
READ = node("r", "ReadFile", "x")
LISTED = encoded(m.LIST, function=[encoded(m.FUNCTION_NAME, name="f")])
BRANCHES = encoded(m.ATTRIBUTE, list=LISTED)


def named(number: int, schema: Schema, **values: Any) -> bytes:
    """One field that holds a message."""
    return field(number, Kind.BYTES, encoded(schema, **values))


def with_argument(**attributes: bytes) -> bytes:
    """A function whose first argument has attributes."""
    value = encoded(m.ATTRIBUTES, attributes=mapped(attributes))
    return function("f") + named(7, m.ARGUMENT_ATTRIBUTES, argument=0, value=value)


REFUSED_GRAPHS: dict[str, tuple[bytes, str]] = {
    "operator": (graph(PLACEHOLDER, SOFTMAX, READ), "'ReadFile' is not allowed .node 'r' in the g"),
    "operator of an uncalled function": (
        graph(PLACEHOLDER, SOFTMAX, functions=[function("f", READ)]),
        "'ReadFile' is not allowed .node 'r' in function 'f'",
    ),
    "loop of TensorFlow 1": (
        graph(PLACEHOLDER, SOFTMAX, node("e", "Enter", "x")),
        "'Enter' is not allowed",
    ),
    "function that calls itself": (
        graph(PLACEHOLDER, SOFTMAX, functions=[SELF]),
        "function 'f' of the SavedModel calls itself",
    ),
    "function that calls itself by its name": (
        graph(PLACEHOLDER, SOFTMAX, functions=[function("Relu", node("c", "Relu", "x"))]),
        "function 'Relu' of the SavedModel calls itself",
    ),
    "function that calls itself as a branch": (
        graph(
            PLACEHOLDER,
            SOFTMAX,
            functions=[function("f", node("c", "StatelessCase", "x", branches=BRANCHES))],
        ),
        "calls itself",
    ),
    "function that a stand-in calls": (
        graph(
            PLACEHOLDER,
            SOFTMAX,
            functions=[
                function("g", CALL),
                function("f", implements="lstm"),
                function(
                    "f2", node("c", "PartitionedCall", "x", f=calling("g")), implements="lstm"
                ),
            ],
        ),
        "calls itself",
    ),
    "calls too deep": (chain(200), "call each other more than 100 deep"),
    "calls too deep, the innermost first": (
        chain(100, is_innermost_first=True),
        "call each other more than 100 deep",
    ),
    "nodes that wait for each other": (
        graph(PLACEHOLDER, node("y", "Identity", "z"), node("z", "Identity", "y")),
        "node 'y' in the graph: it waits for what it makes",
    ),
    "nodes of a function that wait for each other": (
        graph(
            PLACEHOLDER,
            SOFTMAX,
            functions=[function("f", node("a", "Relu", "b"), node("b", "Relu", "x", "^a"))],
        ),
        "node 'a' in function 'f': it waits for what it makes",
    ),
    "function that an argument names": (
        graph(PLACEHOLDER, SOFTMAX, functions=[with_argument(_a=calling("f"))]),
        "an argument of function 'f': its attribute '_a' names a function",
    ),
    "functions that an attribute of a function lists": (
        graph(
            PLACEHOLDER,
            SOFTMAX,
            functions=[function("f") + named(5, m.MAP, key="_a", value=BRANCHES)],
        ),
        "function 'f': its attribute '_a' names a function",
    ),
    "configuration that is none": (
        graph(
            PLACEHOLDER,
            node("y", "Softmax", "x", config_proto=encoded(m.ATTRIBUTE, bytes=b"\xff" * 99)),
        ),
        "the configuration of node 'y'",
    ),
    "configuration with optimizers of its own": (
        graph(
            PLACEHOLDER,
            node(
                "y",
                "Softmax",
                "x",
                config_proto=encoded(m.ATTRIBUTE, bytes=field(10, 2, field(10, 2, b""))),
            ),
        ),
        "the configuration of node 'y' in the graph: it has a field 10",
    ),
    "calls too many": (chain(30, calls=2), "call each other so often"),
    "call that leads nowhere": (
        graph(PLACEHOLDER, node("y", "PartitionedCall", "x", f=calling("f"))),
        "it calls 'f', no function",
    ),
    "input that nothing makes": (graph(PLACEHOLDER, node("y", "Softmax", "z")), "nothing makes"),
    "two nodes of a name": (graph(PLACEHOLDER, SOFTMAX, SOFTMAX), "node 'y' .* there twice"),
    "two functions of a name": (
        graph(PLACEHOLDER, SOFTMAX, functions=[function("f"), function("f")]),
        "function 'f': it is there twice",
    ),
    "name with a line break": (
        graph(PLACEHOLDER, SOFTMAX, node("a\nb", "NoOp")),
        "a node that is called 'a.*nb'",
    ),
    "name with markup": (
        graph(PLACEHOLDER, SOFTMAX, functions=[function("<img>")]),
        "a function that is called '<img>'",
    ),
    "other machine": (
        graph(PLACEHOLDER, node("y", "Softmax", "x", device="/job:worker/task:1")),
        "on a device that is not this machine's",
    ),
    "executor": (
        graph(
            PLACEHOLDER,
            node("y", "Softmax", "x", executor_type=encoded(m.ATTRIBUTE, bytes="MINE")),
        ),
        "an executor of its own",
    ),
    "gradient": (
        graph(
            PLACEHOLDER,
            node("y", "Softmax", "x", _gradient_op_type=encoded(m.ATTRIBUTE, bytes="PyFunc-1")),
        ),
        "its gradient is the unknown 'PyFunc-1'",
    ),
    "gradient of no function": (
        graph(
            PLACEHOLDER,
            SOFTMAX,
            registered_gradients=[
                encoded(m.REGISTERED_GRADIENT, function="f", operator="CustomGradient-1")
            ],
        ),
        "'f' is registered for",
    ),
    "attribute with two values": (
        graph(PLACEHOLDER, node("y", "Softmax", "x", a=encoded(m.ATTRIBUTE, int=1, bool=1))),
        "'a' has several values",
    ),
    "attribute that its caller gives": (
        graph(PLACEHOLDER, node("y", "Softmax", "x", a=field(9, 2, "T"))),
        "a field 9 that is not known",
    ),
    "constant with more than it declares": (
        graph(PLACEHOLDER, SOFTMAX, node("k", "Const", value=constant(2, content=bytes(12)))),
        "declares 2 values but stores 3",
    ),
    "constant of half a value": (
        graph(PLACEHOLDER, SOFTMAX, node("k", "Const", value=constant(2, content=bytes(7)))),
        "no whole number of values",
    ),
    "constant that is made up": (
        graph(
            PLACEHOLDER,
            SOFTMAX,
            node("k", "Const", value=constant(2**25, float32=[struct.pack("<f", 1.0)])),
        ),
        "larger than what is stored",
    ),
    "constant of a negative length": (
        graph(PLACEHOLDER, SOFTMAX, node("k", "Const", value=constant(-5))),
        "its shape is impossible",
    ),
    "constant beyond all measure": (
        graph(PLACEHOLDER, SOFTMAX, node("k", "Const", value=constant(2**30, 2**30))),
        "more than 2147483648 values",
    ),
    "constant that is a resource": (
        graph(PLACEHOLDER, SOFTMAX, node("k", "Const", value=constant(1, dtype=20))),
        "a constant cannot be a resource",
    ),
}


@pytest.mark.parametrize(("content", "why"), REFUSED_GRAPHS.values(), ids=list(REFUSED_GRAPHS))
def test_read_saved_model_refuses_graphs_with(content: bytes, why: str) -> None:
    with pytest.raises(RejectedUpload, match=why):
        read(saved_model(content))


def saver(
    *parts: bytes, path: bytes, implements: str = "", library: Any = None, **meta: Any
) -> bytes:
    """A model with a saver whose restoring function reads the file that `path` makes.

    Beside it stands a function `other` of the same kind. `parts` are more nodes for the restoring.
    """
    names = node("n", "Const", value=constant(1, dtype=STRING, string=["v"]))
    restore = node("r", "RestoreV2", "path", "n", "n")
    content = graph(
        PLACEHOLDER,
        SOFTMAX,
        node("file", "Placeholder"),
        node("restoring", "StatefulPartitionedCall", "file", f=calling("restore")),
        node("saving", "StatefulPartitionedCall", "file", f=calling("save")),
        *meta.pop("nodes", ()),
        functions=[
            function(
                "restore",
                *(names, *parts, path, restore),
                argument="given",
                result="given",
                implements=implements,
            ),
            function("save", argument="given", result="given"),
            function("other", argument="given", result="given", implements=implements),
        ],
        **(library or {}),
    )
    definition = encoded(
        m.SAVER, filename_tensor="file:0", save_tensor="saving:0", restore_operator="restoring"
    )
    return saved_model(content, **{"saver": definition, **meta})


GIVEN = node("path", "Identity", "given")
ELSEWHERE = node("path", "Const", value=constant(dtype=STRING, string=["/etc/passwd"]))
ENDED = node("path", "StringJoin", "given", "n")
INIT = {**SERVING, "__saved_model_init_op": signature({}, {"op": info("restoring")})}
TAKEN = {"serving_default": signature({"x": info("x:0", -1, 4)}, {"y": info("restoring:0", -1)})}


def test_read_saved_model_takes_a_saver_that_reads_the_file_it_is_given() -> None:
    assert read(saver(path=GIVEN)).heads[0].activation == "softmax"


TEMPORARY = constant(dtype=STRING, string=["_temp/part"])
AWAY = constant(dtype=STRING, string=["/../../x"])
# One text of eight bytes, as TensorFlow packs texts, beside the one that is looked at.
TWO_WAYS = constant(dtype=STRING, string=["_temp/part"], content=b"\x08/../../x")
JOINED = node("path", "StringJoin", "given", "e")
HIDDEN = node("e", "Const", value=AWAY, _x=TEMPORARY)
SEPARATED = node(
    "path", "StringJoin", "given", "e", separator=encoded(m.ATTRIBUTE, bytes="/../../x/")
)
OBJECT = encoded(m.PLAIN_OBJECT, kind="_generic_user_object")


def ending(value: bytes) -> bytes:
    return node("e", "Const", value=value)


def holding(**fields: bytes) -> bytes:
    """An object graph of the root and one more object."""
    objects = [encoded(m.SAVED_OBJECT, plain=OBJECT), encoded(m.SAVED_OBJECT, **fields)]
    return encoded(m.OBJECTS, objects=objects)


def test_read_saved_model_takes_the_endings_that_savers_give_file_names() -> None:
    assert read(saver(ending(TEMPORARY), path=JOINED)).parameter_count == 0


def test_read_saved_model_lets_objects_call_what_is_not_the_savers() -> None:
    named = encoded(m.FUNCTION_OBJECT, functions=["other"])
    assert read(saver(path=GIVEN, objects=holding(function=named))).parameter_count == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (saver(ending(AWAY), path=JOINED), "uses a file name that is not the one"),
        (saver(ending(TWO_WAYS), path=JOINED), "written in two ways, or text as bytes"),
        (saver(HIDDEN, path=JOINED), "its attribute '_x' holds a tensor"),
        (saver(ending(TEMPORARY), path=SEPARATED), "uses a file name that is not the one"),
        (saver(path=GIVEN, implements="gru"), "its saver: it stands in for 'gru'"),
        (
            saver(
                path=GIVEN,
                library={"gradients": [encoded(m.GRADIENT, function="other", gradient="restore")]},
            ),
            "gradient: 'restore' is no function",
        ),
        *(
            (saver(path=GIVEN, objects=holding(**fields)), "'restore': it is no function for them")
            for fields in (
                {"function": encoded(m.FUNCTION_OBJECT, functions=["other", "restore"])},
                {"bare_function": encoded(m.BARE_FUNCTION, function="restore")},
                {"captured": encoded(m.CAPTURED, name="t", function="restore")},
            )
        ),
        (saver(path=ELSEWHERE), "RestoreV2 .node 'r' in function 'restore'. uses a file name"),
        (saver(path=ENDED), "uses a file name that is not the one"),
        (saver(path=GIVEN, signatures=mapped(INIT)), "runs 'restoring' when it is loaded"),
        (saver(path=GIVEN, signatures=mapped(TAKEN)), "'y' out of the model's saver"),
        (saver(path=GIVEN, saver=b""), "'RestoreV2' is not allowed"),
        (
            saver(path=GIVEN, nodes=[node("z", "PartitionedCall", "x", f=calling("restore"))]),
            "node 'z' in the graph uses the saver",
        ),
        (
            saver(path=GIVEN, nodes=[node("z", "Identity", "^restoring")]),
            "node 'z' in the graph uses the saver",
        ),
    ],
)
def test_read_saved_model_keeps_the_saver_to_itself(content: bytes, why: str) -> None:
    with pytest.raises(RejectedUpload, match=why):
        read(content)


def objects(**values: Any) -> dict[str, Any]:
    return {"objects": encoded(m.OBJECTS, objects=[encoded(m.SAVED_OBJECT, **values)])}


SHAPED = node("x", "Placeholder", shape=encoded(m.ATTRIBUTE, shape=shape(-1, 5)))
THREE_AND_FIVE = encoded(m.ATTRIBUTE, list=encoded(m.LIST, shape=[shape(-1, 5), shape(-1, 3)]))
INTEGERS = encoded(m.ATTRIBUTE, list=encoded(m.LIST, type=[INT]))
NOTHING = encoded(m.ATTRIBUTE, list=b"")
DEFAULTED = SERVING["serving_default"] + field(4, 2, b"")
REFUSED_META: dict[str, tuple[dict[str, Any], str]] = {
    "tags": ({"meta_info": encoded(m.META_INFO, tags=["serve", "gpu"])}, "tagged 'serve, gpu'"),
    "assets": ({"assets": [b""]}, "reads asset files"),
    "two signatures": (
        {"signatures": mapped({"a": SERVING["serving_default"], "b": b""})},
        "has 2 signatures, none called 'serving_default'",
    ),
    "no signature": ({"signatures": []}, "was saved without signatures"),
    "no signature but what runs at load": (
        {"signatures": mapped({"__saved_model_init_op": signature({}, {"op": info("x:0")})})},
        "was saved without signatures",
    ),
    "a row without end": (
        {
            "signatures": mapped(
                {"s": signature({"x": info("x:0", -1, 2**30, 2)}, {"y": info("y:0", 3)})}
            )
        },
        "a row of the input 'x' has the shape",
    ),
    "an input of another length": (
        {"graph": graph(SHAPED, SOFTMAX)},
        "it says .None, 4.; the graph says otherwise of 'x:0'",
    ),
    "an output of another length": (
        {"graph": graph(PLACEHOLDER, node("y", "Softmax", "x", _output_shapes=THREE_AND_FIVE))},
        "it says .None, 3.; the graph says otherwise of 'y:0'",
    ),
    "an output of another type": (
        {"graph": graph(PLACEHOLDER, node("y", "Softmax", "x", Tout=INTEGERS))},
        "it says float32; the graph says otherwise of 'y:0'",
    ),
    "an output that a call does not have": (
        {"graph": graph(PLACEHOLDER, node("y", "Softmax", "x", Tout=NOTHING))},
        "it says float32; the graph says otherwise of 'y:0'",
    ),
    "values for inputs": (
        {"signatures": mapped({"serving_default": DEFAULTED})},
        "a field 4 that is not known",
    ),
    "batches of eight": (
        {
            "signatures": mapped(
                {"s": signature({"x": info("x:0", 8, 4)}, {"y": info("y:0", 8, 3)})}
            )
        },
        "'x' takes batches of 8 rows only",
    ),
    "an input without axes": (
        {"signatures": mapped({"s": signature({"x": info("x:0")}, {"y": info("y:0", 3)})})},
        "'x' is not known, or has no batch axis",
    ),
    "an output of nothing": (
        {"signatures": mapped({"s": signature({"x": info("x:0", 1)}, {"y": info("z:0", 3)})})},
        "names the tensor 'z:0', which nothing makes",
    ),
    "a port with markup": (
        {"signatures": mapped({"s": signature({"<b>": info("x:0", 1)}, {"y": info("y:0", 3)})})},
        "is called '<b>'",
    ),
    "collections of TensorFlow 1": (
        {"collections": mapped({"queue_runners": encoded(m.COLLECTION, node_list=b"")})},
        "'queue_runners', which TensorFlow 2 does not write",
    ),
    "an asset among objects": (
        {"objects": encoded(m.OBJECTS, objects=[field(5, 2, b"")])},
        "a field 5 that is not known",
    ),
    "a saver of a registered class": (
        {"objects": encoded(m.OBJECTS, objects=[field(16, 2, "Mine")])},
        "a field 16 that is not known",
    ),
    "an object of an unknown kind": (
        objects(plain=encoded(m.PLAIN_OBJECT, kind="my_loader")),
        "of the unknown kind 'my_loader'",
    ),
    "a child that is not there": (
        objects(children=[encoded(m.CHILD, object=7, name="a")]),
        "its child 7 is not there",
    ),
    "a resource on another machine": (
        objects(resource=encoded(m.RESOURCE, device="/job:evil")),
        "on a device that is not this machine's",
    ),
    "a variable without values": (
        objects(variable=encoded(m.VARIABLE, name="w", dtype=FLOAT, shape=shape(2))),
        "values of the variable 'w' are not stored",
    ),
}


@pytest.mark.parametrize(("meta", "why"), REFUSED_META.values(), ids=list(REFUSED_META))
def test_read_saved_model_refuses(meta: dict[str, Any], why: str) -> None:
    with pytest.raises(RejectedUpload, match=why):
        read(saved_model(**meta))


def test_read_saved_model_sees_what_tensorflow_would_merge() -> None:
    """A second graph would be added to the first one; a parser that takes the last is blind."""
    harmful = encoded(m.META_GRAPH, graph=graph(READ))
    honest = saved_model()
    merged = encoded(
        m.SAVED_MODEL,
        meta_graphs=[
            harmful
            + encoded(
                m.META_GRAPH,
                meta_info=encoded(m.META_INFO, tags=["serve"]),
                graph=graph(PLACEHOLDER, SOFTMAX),
                signatures=mapped(SERVING),
            )
        ],
    )
    assert read(honest).layer_count == 0
    with pytest.raises(RejectedUpload, match="'graph' is there twice"):
        read(merged)


def entry(**values: int | bytes) -> bytes:
    fields: dict[str, Any] = {"dtype": FLOAT, "shape": shape(2), "shard": 0, "offset": 0, "size": 8}
    return encoded(m.BUNDLE_ENTRY, **{**fields, **values})


def offset_of(key: str) -> int:
    """Where the values of a variable of dense_exported begin."""
    data = read_table(members_of("dense_exported")[INDEX])[key]
    return Wire().read(data, m.BUNDLE_ENTRY, key).number("offset")


HEADER = encoded(m.BUNDLE_HEADER, shards=1)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"w": entry()}, "it has no header"),
        ({"": encoded(m.BUNDLE_HEADER, shards=2)}, "it counts 2 shards, which are not there"),
        ({"": HEADER + field(2, 0, 1)}, "its numbers are big-endian"),
        ({"": HEADER, "w": entry(size=12)}, "'w' declares 8 bytes but stores 12"),
        ({"": HEADER, "w": entry(offset=1)}, "'w' lies outside"),
        ({"": HEADER, "w": entry(shard=1)}, "'w' is in a shard that is not there"),
        ({"": HEADER, "v": entry(), "w": entry()}, "'w' lies outside"),
        ({"": HEADER, "w": entry(shape=shape(2**20, 2**20))}, "more than 2147483648 values"),
        ({"": HEADER, "w": entry(dtype=20)}, "'w' holds values of type resource"),
        ({"": HEADER, "w": entry() + field(7, 2, b"")}, "a field 7 that is not known"),
    ],
)
def test_read_saved_model_refuses_variables(entries: dict[str, bytes], why: str) -> None:
    with pytest.raises(RejectedUpload, match=why):
        read(saved_model(), **{INDEX: table(entries), SHARD: bytes(8)})


def test_read_saved_model_takes_variables_as_they_are_declared() -> None:
    named = {"": HEADER, "w": entry()}
    assert read(saved_model(), **{INDEX: table(named), SHARD: bytes(8)}).parameter_count == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_read_saved_model_names_the_variable_that_is_not_finite(value: float) -> None:
    shard = bytearray(members_of("dense_exported")[SHARD])
    struct.pack_into("<f", shard, offset_of(BIAS), value)
    with pytest.raises(RejectedUpload, match=r"1 of 4 values of the variable 'variables/1' are"):
        read_file("dense_exported", **{SHARD: bytes(shard)})


def test_read_saved_model_refuses_a_shape_that_is_not_the_stored_one() -> None:
    entries = read_table(members_of("dense_exported")[INDEX])
    entries[BIAS] = entry(shape=shape(2, 2), size=16, offset=offset_of(BIAS))
    said = r"'sequential/a/bias' is declared as float32 of shape \[4\], but stored as float32 of"
    with pytest.raises(RejectedUpload, match=said):
        read_file("dense_exported", **{INDEX: table(entries)})


def test_read_table_reads_what_tensorflow_wrote() -> None:
    entries = read_table(members_of("dense_exported")[INDEX])
    assert [key for key in entries if key.startswith("variables/")] == [
        f"variables/{k}/.ATTRIBUTES/VARIABLE_VALUE" for k in range(4)
    ]
    assert read_table(table(entries)) == entries


@pytest.mark.parametrize(
    ("at", "why"),
    [(-1, "it is no table"), (3, "the checksum of a block is wrong")],
)
def test_read_table_sees_a_changed_byte(at: int, why: str) -> None:
    index = bytearray(members_of("dense_exported")[INDEX])
    index[at] ^= 1
    with pytest.raises(RejectedUpload, match=why):
        read_table(bytes(index))


@pytest.mark.parametrize("name", ["dense_exported", "gru_exported", "words_exported"])
def test_read_saved_model_never_fails_otherwise_than_by_refusing(name: str) -> None:
    """The graph is changed byte by byte; the checksum of the index would hide all else there."""
    rng, members = random.Random(5), members_of(name)
    refused = 0
    for _ in range(60):
        content = bytearray(members[GRAPH])
        for _ in range(rng.choice((1, 2, 8))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            read_saved_model(zipped({**members, GRAPH: bytes(content)}))
        except RejectedUpload:
            refused += 1
    assert refused > 10


def test_read_table_never_fails_otherwise_than_by_refusing() -> None:
    rng, honest = random.Random(6), read_table(members_of("dense_exported")[INDEX])
    for _ in range(80):
        entries = dict(honest)
        key = rng.choice(sorted(entries))
        value = bytearray(entries[key])
        value[rng.randrange(len(value))] = rng.randrange(256)
        entries[key] = bytes(value)
        try:
            read_file("dense_exported", **{INDEX: table(entries)})
        except RejectedUpload:
            continue
