"""The most important channels, on a group made by hand."""

import numpy as np
import pytest

from worker.engine.initializing.channels import l1_norms, narrowed, strongest, wanted_count
from worker.engine.surgery.channels.groups import ChannelGraph, ChannelGroup, Slice

# `made` [2, 3] makes three units, `read` [6, 1] reads each of them twice (as after a Flatten).
WEIGHTS = {
    "made/kernel": np.array([[1.0, -4.0, 2.0], [1.0, 0.0, -3.0]]),
    "made/bias": np.array([9.0, 0.0, 0.0]),
    "read/kernel": np.arange(6.0).reshape(6, 1),
}
GROUP = ChannelGroup(
    name="made",
    producers=("made",),
    count=3,
    slices=(
        Slice("made/kernel", 1, np.array([0, 1, 2]), "output"),
        Slice("made/bias", 0, np.array([0, 1, 2]), "output"),
        Slice("read/kernel", 0, np.array([0, 1, 2, 0, 1, 2]), "input"),
    ),
    structure="dense",
)
GRAPH = ChannelGraph(groups=(GROUP,), frozen=(), renormalized=(), sizes=())


def test_l1_norms_sum_magnitudes_of_the_kernel_alone() -> None:
    np.testing.assert_array_equal(l1_norms(GROUP, WEIGHTS), [2.0, 4.0, 5.0])


def test_l1_norms_of_gates_are_summed_over_them() -> None:
    gates = ChannelGroup(
        name="lstm",
        producers=("lstm",),
        count=2,
        slices=(Slice("lstm/kernel", 1, np.array([0, 1, 0, 1]), "output"),),
        structure="lstm",
    )

    norms = l1_norms(gates, {"lstm/kernel": np.array([[1.0, 2.0, -3.0, 4.0]])})

    np.testing.assert_array_equal(norms, [4.0, 6.0])


def test_strongest_keeps_the_first_of_equal_ones() -> None:
    np.testing.assert_array_equal(
        strongest(np.array([1.0, 3.0, 3.0, 3.0]), 2), [False, True, True, False]
    )


@pytest.mark.parametrize(
    ("lengths", "count"),
    [
        ({"made/kernel": (2, 2)}, 2),
        ({"made/kernel": (2, 2), "made/bias": (2,)}, 2),
        ({"made/kernel": (2, 2), "made/bias": (1,)}, None),
        ({"read/kernel": (4, 1)}, None),
        ({}, None),
    ],
)
def test_wanted_count_is_what_all_producers_agree_on(
    lengths: dict[str, tuple[int, ...]], count: int | None
) -> None:
    assert wanted_count(GROUP, lengths) == count


def test_narrowed_weights_keep_the_same_channels_everywhere() -> None:
    left = narrowed(GRAPH, WEIGHTS, {"made": 2})

    np.testing.assert_array_equal(left["made/kernel"], [[-4.0, 2.0], [0.0, -3.0]])
    np.testing.assert_array_equal(left["made/bias"], [0.0, 0.0])
    np.testing.assert_array_equal(left["read/kernel"], [[1.0], [2.0], [4.0], [5.0]])
