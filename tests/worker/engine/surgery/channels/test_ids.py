"""The union-find on arrays, and what holds channels back."""

import numpy as np

from worker.engine.surgery.channels.ids import FIXED, Ids, connected


def test_connected_leads_every_number_to_the_smallest_of_its_set() -> None:
    labels = connected(7, np.array([5, 2, 6]), np.array([2, 4, 0]))

    assert labels.tolist() == [0, 1, 2, 3, 2, 2, 0]


def test_connected_agrees_with_a_set_at_a_time() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 300, (2, 200))
    sets = [{number} for number in range(300)]
    for one, other in zip(first, second, strict=True):
        joined = sets[one] | sets[other]
        for member in joined:
            sets[member] = joined

    labels = connected(300, first, second)

    assert labels.tolist() == [min(of_one) for of_one in sets]


def test_connected_joins_a_long_chain_in_any_order() -> None:
    order = np.random.default_rng(0).permutation(5000)

    labels = connected(5000, order[:-1], order[1:])

    assert not labels.any()


def test_unite_holds_back_what_it_joins_with_a_fixed_channel() -> None:
    ids = Ids()
    first, second = ids.new(3), ids.new(3)
    second[1] = FIXED

    united = ids.unite(first, second, "one is fixed")

    assert united.tolist() == [0, FIXED, 2]
    assert ids.classes().labels.tolist() == [0, 1, 2, 0, 4, 2]
    assert ids.classes().stops.tolist() == [-1, 0, -1, -1, -1, -1]


def test_stop_holds_back_all_that_are_one_channel_for_the_first_reason() -> None:
    ids = Ids()
    first, second = ids.new(2), ids.new(2)
    ids.unite(first, second, "")
    ids.stop(second[:1], "sooner")
    ids.stop(first, "later")

    stops = ids.classes().stops

    assert [ids.reasons[stop] for stop in stops] == ["sooner", "later", "sooner", "later"]
