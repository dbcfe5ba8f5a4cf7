"""What every command has in common: --json, where state lives, how it ends."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from app.cli.output import Output
from app.client import ApiProblem
from app.client.credentials import VARIABLE
from app.errors import (
    Conflict,
    Invalid,
    Malformed,
    NotFound,
    PenjingError,
    TooLarge,
    UnsupportedFormat,
)
from app.jobs.job import JobState
from app.jobs.views import JobView
from app.reports.report import Verdict


class Exit(IntEnum):
    """Exit codes. Two is also what click uses for a mistyped command line."""

    MET = 0
    BAD_INPUT = 2
    TARGET_MISSED = 3
    FAILED = 4
    INTERRUPTED = 130


class FileNotUsable(Invalid):
    code = "file_not_usable"
    title = "A file or folder here cannot be read or written"


class Mistyped(Malformed):
    code = "mistyped_command"
    title = "The command line could not be read"


CALLERS_FAULT = (Conflict, Invalid, Malformed, NotFound, TooLarge, UnsupportedFormat)

DEFAULT_HOME = Path(".penjing")
IS_JSON = "penjing.is_json"
API_KEY = "penjing.api_key"

P = ParamSpec("P")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Body = Callable[Concatenate[Output, P], Exit]


def exit_of_error(error: PenjingError) -> Exit:
    """Bad input is what the caller can put right; the rest failed."""
    if isinstance(error, ApiProblem):
        return Exit.BAD_INPUT if error.problem.status < 500 else Exit.FAILED
    return Exit.BAD_INPUT if isinstance(error, CALLERS_FAULT) else Exit.FAILED


def exit_of_job(job: JobView) -> Exit:
    """A model that got no better has missed its target, too."""
    if job.state is not JobState.SUCCEEDED:
        return Exit.FAILED
    return Exit.MET if job.verdict is Verdict.MET else Exit.TARGET_MISSED


def command(body: Body[P]) -> Callable[..., Any]:
    """Give a command its --json and its `Output`; turn errors and results into exit codes."""

    @click.option("--json", "is_json", is_flag=True, help="Machine-readable result on stdout.")
    @functools.wraps(body)
    def framed(is_json: bool, *args: P.args, **kwargs: P.kwargs) -> None:
        output = Output(is_json=is_json)
        try:
            code = body(output, *args, **kwargs)
        except PenjingError as error:
            output.fail(error)
            code = exit_of_error(error)
        except OSError as error:
            failure = FileNotUsable(f"{error.filename or 'a file'}: {error.strerror or error}")
            output.fail(failure)
            code = exit_of_error(failure)
        except KeyboardInterrupt:
            output.say("Interrupted.")
            code = Exit.INTERRUPTED
        click.get_current_context().exit(code)

    return framed


class Commands(click.Group):
    """A group that gives a mistyped command as a problem on stdout if JSON was asked for."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        is_json = "--json" in args
        with _mistyped_as_json(is_json):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[IS_JSON] = is_json
        return context

    def invoke(self, ctx: click.Context) -> Any:
        with _mistyped_as_json(ctx.meta[IS_JSON]):
            return super().invoke(ctx)


@contextmanager
def _mistyped_as_json(is_json: bool) -> Iterator[None]:
    """What a person reads of it is click's."""
    try:
        yield
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "penjing"
        mistyped = Mistyped(error.format_message(), hint=f"{path} --help says what it takes.")
        Output(is_json=is_json).give({"problem": mistyped.as_problem().model_dump(mode="json")})
        raise


home_option = click.option(
    "--home",
    envvar="PENJING_HOME",
    default=DEFAULT_HOME,
    show_default=True,
    show_envvar=True,
    type=click.Path(file_okay=False, path_type=Path),
    callback=lambda _context, _parameter, value: value.absolute(),
    help="The folder that holds all state.",
)


def api_key_option(body: Decorated) -> Decorated:
    """Kept beside the command's arguments, for `api_key`: no command has to hand it on."""
    return click.option(
        "--api-key",
        envvar=VARIABLE,
        show_envvar=True,
        expose_value=False,
        callback=_keep_key,
        help="The key to send. Better set the variable: a command line can be read by others.",
    )(body)


def url_option(body: Decorated) -> Decorated:
    """Which service to use, and with which key."""
    return click.option(
        "--url",
        envvar="PENJING_URL",
        show_envvar=True,
        help="A running service; without it, the stack of --home is used, or started for the "
        "command.",
    )(api_key_option(body))


def api_key() -> str | None:
    """The key that this command was given."""
    return click.get_current_context().meta.get(API_KEY)


def _keep_key(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    context.meta[API_KEY] = value
