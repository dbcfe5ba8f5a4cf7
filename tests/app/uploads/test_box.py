"""Whether the inspector's box holds, by the worker's self-test, and for how long that counts."""

from pathlib import Path

import pytest

from app.uploads.box import FAILURE_KEPT_S, BoxTrial, InspectorBox, try_box
from tests.app.uploads import without_landlock
from tests.fakes import FakeClock

HOLDS = BoxTrial(True, "it holds")
FAILS = BoxTrial(False, "the box does not hold: this kernel has no Landlock")


class Examined:
    """Answers with these, one after the other."""

    def __init__(self, *trials: BoxTrial) -> None:
        self.left = list(trials)

    def __call__(self) -> BoxTrial:
        return self.left.pop(0)


def box_of(examined: Examined, clock: FakeClock) -> InspectorBox:
    return InspectorBox(examined, clock, allows_unconfined=False)


def test_box_holds_here(tmp_path: Path) -> None:
    trial = try_box(tmp_path)
    assert trial.holds
    assert trial.words.startswith("it holds, with Landlock")
    assert not any(tmp_path.iterdir())


def test_box_does_not_hold_where_the_kernel_has_no_landlock(tmp_path: Path) -> None:
    trial = try_box(tmp_path, without_landlock.__name__)
    assert not trial.holds
    assert "this kernel has no Landlock. Boot a kernel of 5.13 or later" in trial.words


def test_box_does_not_hold_where_its_test_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "missing"))
    trial = try_box(tmp_path)
    assert trial == BoxTrial(False, "its test could not be started: No such file or directory")


def test_box_does_not_hold_where_its_test_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.uploads.box.TRIAL_LIMIT_S", 0)
    assert try_box(tmp_path) == BoxTrial(False, "its test said nothing within 0 s")


def test_box_that_holds_is_tried_once() -> None:
    clock, examined = FakeClock(), Examined(HOLDS)
    box = box_of(examined, clock)
    assert examined.left == [HOLDS]  # nothing is tried before somebody asks
    assert box.holds()
    clock.advance(365 * 86_400)
    assert box.holds()
    assert examined.left == []


def test_box_that_fails_is_tried_again_after_a_while() -> None:
    clock, examined = FakeClock(), Examined(FAILS, HOLDS)
    box = box_of(examined, clock)
    assert not box.holds()
    clock.advance(FAILURE_KEPT_S - 1)
    assert not box.holds()
    clock.advance(1)
    assert box.holds()
