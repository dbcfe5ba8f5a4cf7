"""How commands end: exit codes, where words go, what a problem looks like."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from app.cli.frame import Exit, command, exit_of_job
from app.cli.jobs import STATE
from app.cli.main import penjing
from app.cli.output import Output
from app.client import ApiProblem, ServiceUnreachable
from app.errors import Complaint, Invalid, PenjingError, ProblemView
from app.jobs.job import JobState
from app.jobs.views import JobView
from tests.app.test_client import job_json


def run(error: BaseException | None, *arguments: str) -> Result:
    @click.command()
    @command
    def act(output: Output) -> Exit:
        if error is not None:
            raise error
        output.say("news")
        output.show("for a person")
        output.give({"for": "a program"})
        return Exit.TARGET_MISSED

    return CliRunner().invoke(act, list(arguments))


def api_problem(status: int) -> ApiProblem:
    return ApiProblem(
        ProblemView(
            type="urn:penjing:problem:x",
            title="Title",
            status=status,
            detail="detail",
            instance="/v1/jobs",
            code="x",
            stage=None,
            errors=(Complaint(pointer="/recipe/steps/0", detail="wrong there"),),
            retryable=False,
            hint="do this",
            request_id="req_1",
        )
    )


def test_command_shows_its_result_to_a_person() -> None:
    result = run(None)
    assert result.stdout == "for a person\n"
    assert result.stderr == "news\n"
    assert result.exit_code == 3


def test_command_gives_only_json_on_stdout_when_asked_to() -> None:
    result = run(None, "--json")
    assert json.loads(result.stdout) == {"for": "a program"}
    assert result.stderr == "news\n"
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("no"), 2),
        (api_problem(404), 2),
        (api_problem(422), 2),
        (api_problem(503), 4),
        (ServiceUnreachable("no answer"), 4),
        (PenjingError("fault"), 4),
        (PermissionError(13, "Permission denied", "/x"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_command_exits_by_the_kind_of_error(error: BaseException, code: int) -> None:
    assert run(error).exit_code == code


def test_problem_is_told_with_pointer_and_hint_and_without_traceback() -> None:
    result = run(api_problem(500))
    assert result.stderr.splitlines() == [
        "Error: Title [x]",
        "  detail",
        "  /recipe/steps/0: wrong there",
        "  What to do: do this",
        "  Request: req_1",
    ]
    assert result.stdout == ""


def test_problem_is_json_on_stdout_when_asked_to() -> None:
    problem = json.loads(run(api_problem(422), "--json").stdout)["problem"]
    assert problem["code"] == "x"
    assert problem["errors"] == [{"pointer": "/recipe/steps/0", "detail": "wrong there"}]


def test_control_characters_of_a_detail_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in run(Invalid("layer \x1b[31mred")).stderr


@pytest.mark.parametrize(
    ("state", "verdict", "code"),
    [
        ("succeeded", "met", 0),
        ("succeeded", "target_not_met", 3),
        ("succeeded", "no_improvement", 3),
        ("failed", None, 4),
        ("cancelled", None, 4),
        ("timed_out", None, 4),
    ],
)
def test_job_decides_the_exit_code(state: str, verdict: str | None, code: int) -> None:
    job = JobView.model_validate(job_json(state=state, verdict=verdict))
    assert exit_of_job(job) == code


@pytest.mark.parametrize(
    "words",
    [
        ("up",),
        ("demo",),
        ("optimize",),
        ("inspect",),
        ("doctor",),
        ("jobs", "list"),
        ("jobs", "show"),
        ("jobs", "watch"),
        ("jobs", "cancel"),
        ("jobs", "retry"),
    ],
)
def test_every_command_has_json_and_says_what_it_does(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(penjing, [*words, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_version_is_told() -> None:
    result = CliRunner().invoke(penjing, ["--version"])
    assert result.stdout.startswith("penjing ")


def test_optimize_exits_with_bad_input_when_the_model_is_not_there() -> None:
    result = CliRunner().invoke(penjing, ["optimize", "no-such.keras", "--int8"])
    assert result.exit_code == 2
    assert "no-such.keras" in result.stderr


def test_inspect_exits_with_bad_input_when_it_is_neither_file_nor_id() -> None:
    result = CliRunner().invoke(penjing, ["inspect", "nothing", "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stdout)["problem"]["code"] == "not_found"


def test_problem_is_told_once_when_its_detail_is_what_is_wrong() -> None:
    wrong = Complaint(pointer="/recipe", detail="no")
    result = run(Invalid("/recipe: no (and 1 more)", errors=[wrong, wrong]))
    assert result.stderr.splitlines()[1:] == ["  /recipe: no", "  /recipe: no"]


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "list", "--state", "nowhere", "--json"),
        ("optimize", "--json"),
        ("no-such-command", "--json"),
        ("--no-such-option", "--json"),
    ],
)
def test_mistyped_command_is_a_problem_on_stdout_when_json_is_asked_for(
    words: tuple[str, ...],
) -> None:
    result = CliRunner().invoke(penjing, list(words))
    assert result.exit_code == 2
    assert json.loads(result.stdout)["problem"]["code"] == "mistyped_command"
    assert "Usage: " in result.stderr


def test_mistyped_command_leaves_stdout_empty_when_a_person_reads() -> None:
    result = CliRunner().invoke(penjing, ["no-such-command"])
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("written", ["timed_out", "TIMED_OUT"])
def test_state_of_jobs_is_taken_as_the_api_writes_it(written: str) -> None:
    assert STATE.convert(written, None, None) == JobState.TIMED_OUT.value


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--prune", "1.5"], "/recipe/steps/0/sparsity: input should be less than 1; given 1.5"),
        (["--int8", "--max-size", "-5"], "/constraints/max_size_bytes: "),
        (["--int8", "--max-accuracy-drop", "-5"], "/constraints/max_accuracy_drop: "),
    ],
)
def test_optimize_refuses_a_bad_value_before_anything_is_started(
    tmp_path: Path, flags: list[str], complaint: str
) -> None:
    model = tmp_path / "net.keras"
    model.write_bytes(b"x")
    out, home = tmp_path / "out", tmp_path / "home"
    words = ["optimize", str(model), *flags, "-o", str(out), "--home", str(home)]
    result = CliRunner().invoke(penjing, words)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert not home.exists()
    assert not out.exists()


def test_json_holds_nothing_that_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x9b31m\u202egnp.exe\x1b[2J"
    Output(is_json=True).give({"name": name})
    told = capsys.readouterr().out
    assert told.isascii()
    assert told.rstrip("\n").isprintable()
    assert json.loads(told) == {"name": name}
