"""What a child says goes on without the paths of this machine, and in bounded length."""

import sys
from pathlib import Path

import pytest

from app.errors import Complaint, EngineFault
from worker.cleaning import LONGEST_TEXT, Cleaner

HOME = Path("/home/an operator/pen+jing")


@pytest.fixture
def clean() -> Cleaner:
    return Cleaner(HOME)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"cannot open '{HOME}/jobs/1/in/m.keras'", "cannot open '<path>'"),
        (f"{HOME}/jobs/a and {sys.prefix}/lib/b.py, line 3", "<path> and <path> line 3"),
        ("layer 'block/conv' at /recipe/steps/0", "layer 'block/conv' at /recipe/steps/0"),
    ],
)
def test_text_has_no_paths_of_this_machine(clean: Cleaner, said: str, told: str) -> None:
    assert clean.text(said) == told


def test_problem_has_no_path_no_traceback_and_no_made_up_code(clean: Cleaner) -> None:
    said = EngineFault(
        "bad\nTraceback (most recent call last):\n  File '/usr/lib/x.py'",
        hint="x" * 10_000,
        errors=[Complaint(pointer="/recipe/steps/0", detail="see /etc/secret/key")],
    ).as_problem()

    told = clean.problem(said.model_copy(update={"code": "ENGINE <b>"}))

    assert (told.code, told.detail) == ("engine_fault", "bad")
    assert len(told.hint or "") == LONGEST_TEXT
    assert told.errors == (Complaint(pointer="/recipe/steps/0", detail="see <path>"),)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        *((code, code) for code in ("step_failed", "cancelled", "labels_do_not_fit")),
        *((code, "engine_fault") for code in ("run_time_exceeded", "worker_lost", "free_money")),
        ("quota_run_seconds", "engine_fault"),
    ],
)
def test_problem_keeps_the_codes_that_a_child_can_mean(
    clean: Cleaner, code: str, told: str
) -> None:
    said = EngineFault("bad").as_problem().model_copy(update={"code": code})

    assert clean.problem(said).code == told


def test_text_steers_no_terminal(clean: Cleaner) -> None:
    assert clean.text("a\x1b[31m\nb\u202ec\x9bd") == "a [31m b c d"


def test_data_is_cleaned_at_every_depth(clean: Cleaner) -> None:
    said = {"warnings": [f"in {HOME}/x", 3, None], "nested": {"deep": f"{HOME}"}}

    assert clean.data(said) == {"warnings": ["in <path>", 3, None], "nested": {"deep": "<path>"}}
