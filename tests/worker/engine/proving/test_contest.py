"""Which form of a float32 file is offered, by what each takes."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import data_for, never_cancelled
from worker.engine.exporting.source import KerasSource
from worker.engine.loading.models import heads, input_specs
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.proving.contest import Contest
from worker.engine.quantizing.levels import Grid, Levels
from worker.engine.subject import Subject

STEP = np.full((1, 1), 0.03125, np.float32)


class TimedContest(Contest):
    """One whose files take what the test says: float32, int8_levels, sparse, as far as they are."""

    milliseconds: list[float | None]

    def _latencies(self, contents: list[bytes]) -> list[float | None]:
        assert len(contents) == len(self.milliseconds)
        return self.milliseconds


@pytest.fixture(scope="module")
def wide_model() -> Any:
    """40 -> 32, nine of ten weights zero, all of them on a grid of 8 bits."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((40,), name="x"), keras.layers.Dense(32, name="wide")])
    kernel, bias = model.get_weights()
    keep = np.random.default_rng(3).uniform(size=kernel.shape) > 0.9
    model.set_weights([np.rint(kernel * keep / STEP) * STEP, bias])
    return model


def contest_of(
    model: Any, folder: Path, milliseconds: list[float | None], *, has_levels: bool
) -> tuple[TimedContest, list[str]]:
    levels: dict[str, Levels] = {}
    if has_levels:
        shape = model.layers[-1].kernel.shape
        levels["wide/kernel"] = Grid(STEP, np.zeros((1, 1), np.int32), 8, shape)
    data = data_for(model, folder, train_rows=8, test_rows=4)
    subject = Subject(model, b"", input_specs(model), heads(model, None), data, (), 1)
    told: list[str] = []
    source = KerasSource(model, folder / "source", {}, levels)
    contest = TimedContest(source, subject, folder, never_cancelled, told.append)
    contest.milliseconds = milliseconds
    return contest, told


@pytest.mark.parametrize(
    ("milliseconds", "offered", "told"),
    [
        ([1.0, 1.0, 0.5], ["sparse", "int8_levels"], ""),
        # Sparse is faster than float32; levels are faster still, or as fast and smaller.
        ([1.0, 0.5, 0.9], ["int8_levels", "sparse"], ""),
        ([1.0, 0.88, 0.86], ["int8_levels", "sparse"], ""),
        (
            [1.0, 1.0, 0.99],
            ["int8_levels"],
            "is not faster by more than 5%, 0.99 ms against 1 ms",
        ),
        ([1.0, 1.3, 0.5], ["sparse"], "slower by more than 10%, 1.3 ms against 1 ms"),
        ([1.0, 1.3, None], [], "does not run"),
    ],
)
def test_forms_are_offered_by_what_they_take(
    wide_model: Any,
    milliseconds: list[float | None],
    offered: list[str],
    told: str,
    tmp_path: Path,
) -> None:
    contest, said = contest_of(wide_model, tmp_path, milliseconds, has_levels=True)
    found = [contest.sparse(), contest.levels(), contest.sparse_after_levels()]
    assert [one.variant for one in found if one is not None] == offered
    assert told in " ".join(said)
    assert bool(said) == bool(told)


def test_forms_hold_the_same_values(wide_model: Any, tmp_path: Path) -> None:
    contest, _ = contest_of(wide_model, tmp_path, [1.0, 1.0, 0.5], has_levels=True)
    kernel = np.asarray(wide_model.layers[0].kernel)
    for converted in (contest.sparse(), contest.levels()):
        assert converted is not None
        stored = [one for one in read_tflite(converted.content).weights if len(one.shape) == 2]
        np.testing.assert_array_equal(stored[0].values, kernel.T)


def test_whole_numbers_are_not_offered_where_they_take_more_bytes(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    tiny = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(4, name="wide")])
    kernel, bias = tiny.get_weights()
    tiny.set_weights([np.rint(kernel / STEP) * STEP, bias])
    contest, said = contest_of(tiny, tmp_path, [], has_levels=True)
    assert (contest.levels(), said) == (None, [])


def test_nothing_is_timed_where_no_other_form_applies(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((40,), name="x"), keras.layers.Dense(32, name="wide")])
    contest, said = contest_of(model, tmp_path, [], has_levels=False)
    assert (contest.sparse(), contest.levels(), said) == (None, None, [])
