"""Calls between the subgraphs of a TensorFlow Lite model: in no circle, and not too many."""

from collections.abc import Sequence
from typing import Protocol

from app.errors import RejectedUpload
from app.uploads.inspector.topological_order import node_in_cycle

# Interpreters prepare what is called inside the call: each is a frame of their stack.
MAX_CALL_DEPTH = 32
# They prepare it at every call anew: graphs that each call the next twice double 31 times.
MAX_INLINED = 2_000_000


class Caller(Protocol):
    """An operator by the subgraphs that it runs."""

    @property
    def calls(self) -> tuple[int, ...]: ...


def check_calls(subgraphs: Sequence[Sequence[Caller]]) -> None:
    """Of the operators of each subgraph: their numbers say nothing.

    A converter counts as it goes through loops inside loops.

    Raises: RejectedUpload.
    """
    called = [[at for operator in graph for at in operator.calls] for graph in subgraphs]
    circling = node_in_cycle({index: set(calls) for index, calls in enumerate(called)})
    if circling is not None:
        raise RejectedUpload(f"subgraph {circling} calls itself, by way of others")
    inlined: dict[int, int] = {}
    for _ in range(MAX_CALL_DEPTH):
        waiting = [index for index in range(len(subgraphs)) if index not in inlined]
        ready = [index for index in waiting if inlined.keys() >= set(called[index])]
        inlined |= {
            index: len(subgraphs[index]) + sum(inlined[at] for at in called[index])
            for index in ready
        }
    if len(inlined) < len(subgraphs):
        raise RejectedUpload(f"subgraphs call each other more than {MAX_CALL_DEPTH} deep")
    if max(inlined.values()) > MAX_INLINED:
        raise RejectedUpload(
            f"with what they call, the subgraphs have more than {MAX_INLINED} operators",
            hint="The operators of a subgraph count at each call of it.",
        )
