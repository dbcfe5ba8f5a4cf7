"""EinsumDense: what each letter of its equation does to channels."""

from dataclasses import dataclass

from worker.engine.surgery.channels.calls import Axes, Call, Tensor
from worker.engine.surgery.channels.ids import IntArray
from worker.engine.surgery.channels.ledger import Ledger, Role, replaced
from worker.engine.surgery.channels.rules.activations import couples
from worker.engine.surgery.channels.rules.kernels import altered


@dataclass(frozen=True)
class Equation:
    """`ab...,bc->ac...`: letter -> axis, of the input, the kernel and the output."""

    given: dict[str, int]
    kernel: dict[str, int]
    made: dict[str, int]
    bias: dict[str, int]
    # Output axes that `output_shape` of the layer does not state: the batch, and those elided.
    unstated: int

    @classmethod
    def of(cls, text: str, bias_axes: str | None, rank: int) -> "Equation":
        operands, output = text.replace(" ", "").split("->")
        first, kernel = operands.split(",")
        elided = rank - len(first.replace("...", ""))
        made = _axes(output, elided)
        starts = min(
            (output.replace("...", "").index(letter) for letter in bias_axes or ""), default=0
        )
        return cls(
            given=_axes(first, elided),
            kernel=_axes(kernel, 0),
            made=made,
            bias={
                letter: output.replace("...", "").index(letter) - starts
                for letter in bias_axes or ""
            },
            unstated=max(elided, 1) if output.startswith("...") else 1,
        )


def einsum_dense(ledger: Ledger, call: Call) -> list[Axes]:
    """Letters of input and kernel that the output lacks are summed over; new ones are made."""
    obstacle = altered(call.layer)
    if obstacle:
        return ledger.refuse(call, obstacle)
    layer = call.layer
    equation = Equation.of(layer.equation, layer.bias_axes, call.given.rank)
    _read(ledger, call, equation)
    axes: Axes = {}
    for letter, axis in equation.made.items():
        if letter in equation.kernel and letter not in equation.given:
            axes = replaced(axes, axis, _made(ledger, call, equation, letter))
        elif letter in equation.given:
            axes = replaced(axes, axis, call.given.along(equation.given[letter]))
    made = Tensor(call.shapes[0], axes)
    for letter, axis in equation.made.items():
        _bind_output(ledger, call, equation, letter, made.along(axis))
    return [axes]


def _read(ledger: Ledger, call: Call, equation: Equation) -> None:
    for letter, axis in equation.given.items():
        ids = call.given.along(axis)
        if letter not in equation.kernel and letter not in equation.made:
            ledger.stop(call, ids, "it sums over them without weights")
        elif letter in equation.kernel:
            role: Role = "output" if letter in equation.made else "input"
            ledger.bind(call, call.layer.kernel, equation.kernel[letter], ids, role)


def _made(ledger: Ledger, call: Call, equation: Equation, letter: str) -> IntArray:
    kernel, axis = call.layer.kernel, equation.kernel[letter]
    others = [new for new in equation.kernel if new in equation.made and new not in equation.given]
    made = ledger.new(call, kernel.shape[axis], "" if letter == others[-1] else letter)
    ledger.bind(call, kernel, axis, made, "output")
    return made


def _bind_output(
    ledger: Ledger, call: Call, equation: Equation, letter: str, ids: IntArray
) -> None:
    if letter in equation.bias:
        ledger.bind(call, call.layer.bias, equation.bias[letter], ids, "output")
    coupling = couples(call.layer.activation)
    if coupling is not None:
        ledger.stop(call, ids, f"{coupling} mixes them")
    stated = equation.made[letter] - equation.unstated
    partial = call.layer.partial_output_shape
    if 0 <= stated < len(partial) and partial[stated] is not None:
        ledger.size(call, ("output_shape", stated), ids)


def _axes(operand: str, elided: int) -> dict[str, int]:
    """Letter -> axis. The ellipsis stands for `elided` axes, which have names of their own."""
    stands_for = "".join(chr(ord("\ue000") + place) for place in range(elided))
    return {letter: axis for axis, letter in enumerate(operand.replace("...", stands_for))}
