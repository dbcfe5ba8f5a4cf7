"""Where words go: results to stdout, the rest to stderr; with --json, stdout is JSON only."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType

from app.client import ApiProblem
from app.errors import PenjingError, Problem, ProblemView

# A table needs this much even where nobody looks: in a pipe or a log there is no real width.
WIDTH_WITHOUT_TERMINAL = 110
ALARM = "bold white on red"


class Output:
    """The one place that prints."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.results = _console(is_stderr=False)
        self.news = _console(is_stderr=True)

    def say(self, text: str) -> None:
        """Tell a person what goes on."""
        self.news.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def alarm(self, text: str) -> None:
        """Tell a person what nobody is to overlook: red, where there are colors."""
        self.news.print(printable(text), style=ALARM, markup=False, highlight=False, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Part of the result, for a person; left out with --json."""
        if not self.is_json:
            self.results.print(renderable, soft_wrap=isinstance(renderable, str))

    def give(self, result: Mapping[str, Any] | Sequence[Any]) -> None:
        """The result, for a program, in one line; only with --json.

        In ASCII: a terminal may show it, and names can hold what would steer one.
        """
        if self.is_json:
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()

    def fail(self, error: PenjingError) -> None:
        """A problem: title, detail, what is wrong where, what to do."""
        problem: Problem | ProblemView = error.as_problem()
        if isinstance(error, ApiProblem):
            problem = error.problem
        self.give({"problem": problem.model_dump(mode="json")})
        self.say(in_words(problem))


def in_words(problem: Problem | ProblemView) -> str:
    """The lines a person reads of a problem."""
    stage = f" (at: {problem.stage})" if problem.stage else ""
    wrong = [f"{item.pointer or 'the body'}: {item.detail}" for item in problem.errors]
    # Of a refused request, the detail only repeats the first of what is wrong.
    said = wrong if wrong and problem.detail.startswith(wrong[0]) else [problem.detail, *wrong]
    lines = [f"Error: {problem.title} [{problem.code}]{stage}", *(f"  {line}" for line in said)]
    if problem.hint:
        lines.append(f"  What to do: {problem.hint}")
    if isinstance(problem, ProblemView) and problem.request_id and problem.status >= 500:
        lines.append(f"  Request: {problem.request_id}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Names come from files: no control character of theirs reaches the terminal."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _console(*, is_stderr: bool) -> Console:
    stream = sys.stderr if is_stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
