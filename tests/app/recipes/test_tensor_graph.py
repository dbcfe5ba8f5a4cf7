"""How outputs of a TensorFlow graph end, on graphs made by hand."""

import pytest

from app.recipes.saved_model_files import chosen_signature, in_order
from app.recipes.tensor_graph import Function, Graph, Node, activation, maker_and_index


def graph_of(*nodes: Node, functions: tuple[Function, ...] = ()) -> Graph:
    by_name = {node.name: node for node in (Node("x", "Placeholder"), *nodes)}
    return Graph(by_name, {function.name: function for function in functions})


def chain(*operators: str) -> Graph:
    """From x over n0, n1 and so on to y."""
    names = ["x", *(f"n{k}" for k in range(len(operators) - 1)), "y"]
    nodes = zip(names[1:], operators, names, strict=False)
    return graph_of(*(Node(name, operator, (giver,)) for name, operator, giver in nodes))


@pytest.mark.parametrize(
    ("operators", "end"),
    [
        (("MatMul", "BiasAdd", "Softmax", "Identity"), "softmax"),
        (("MatMul", "BiasAdd", "Sigmoid", "Cast"), "sigmoid"),
        (("MatMul", "BiasAdd"), "linear"),
        (("BiasAdd", "LogSoftmax"), "linear"),
        (("Conv2D", "Mean"), "linear"),
        (("Conv2D", "Softmax", "Mean"), "softmax"),
        (("Conv2D", "Reshape"), "linear"),
        (("MatMul", "Sigmoid", "Squeeze"), "sigmoid"),
        # The axis that a softmax ran over may not be the last one any more.
        (("MatMul", "Softmax", "Reshape"), "other"),
        (("MatMul", "BiasAdd", "Relu"), "other"),
        (("Softmax", "Mul"), "other"),
        ((), "other"),
    ],
)
def test_activation_is_read_back_from_the_output(operators: tuple[str, ...], end: str) -> None:
    assert activation(chain(*operators), "y:0" if operators else "x:0") == end


def test_activation_is_that_of_the_output_a_call_gives() -> None:
    function = Function(
        "f",
        arguments=("a", "b"),
        results=("s:softmax:0", "b"),
        nodes={"s": Node("s", "Softmax", ("a",))},
    )
    graph = graph_of(
        Node("m", "MatMul", ("x",)),
        Node("y", "StatefulPartitionedCall", ("x", "m", "^x"), ("f",)),
        functions=(function,),
    )
    assert activation(graph, "y:0") == "softmax"
    assert activation(graph, "y:1") == "linear"
    assert activation(graph, "y:2") == "other"


@pytest.mark.parametrize(("other", "end"), [("ReadVariableOp", "linear"), ("Relu", "other")])
def test_sum_is_linear_where_it_adds_weights(other: str, end: str) -> None:
    graph = graph_of(
        Node("m", "Mul", ("x",)),
        Node("w", other, ("x",)),
        Node("y", "AddV2", ("m", "w")),
    )
    assert activation(graph, "y") == end


@pytest.mark.parametrize(
    ("tensor", "made"),
    [("a", ("a", 0)), ("a:2", ("a", 2)), ("a/b:out:1", ("a/b", 1)), ("^a", ("a", 0))],
)
def test_tensor_tells_its_node_and_which_output_it_is(tensor: str, made: tuple[str, int]) -> None:
    assert maker_and_index(tensor) == made


def test_outputs_are_in_the_order_of_their_numbers() -> None:
    assert in_order(["output_10", "output_9", "box", "output"]) == [
        "box",
        "output",
        "output_9",
        "output_10",
    ]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("serve", "serving_default", "__saved_model_init_op"), "serving_default"),
        (("predict", "__saved_model_init_op"), "predict"),
        (("a", "b"), None),
        (("__saved_model_init_op",), None),
    ],
)
def test_signature_is_the_default_or_the_only_one(
    names: tuple[str, ...], chosen: str | None
) -> None:
    assert chosen_signature(names) == chosen
