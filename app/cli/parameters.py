"""Types of command-line values beyond click's own."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar

import click

from app.cli.flags import number, output_kinds, size_bytes

Value = TypeVar("Value")

TENANT_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
LONGEST_LABEL = 200
LONGEST_LIFETIME = timedelta(days=3660)
LENGTH_OF_TIME = re.compile(r"([0-9]{1,8})([dhm])")
UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


class Parsed(click.ParamType[Value], Generic[Value]):
    """A value read by a pure function that raises ValueError on nonsense."""

    def __init__(self, name: str, parse: Callable[[str], Value], example: str) -> None:
        self.name = name
        self._parse = parse
        self._example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Value:
        try:
            return self._parse(str(value))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a {self.name}; write it like {self._example}", param, ctx)


def lifetime(text: str) -> timedelta:
    """Days, hours or minutes: 90d, 12h, 30m.

    Raises: ValueError.
    """
    found = LENGTH_OF_TIME.fullmatch(text)
    span = int(found[1]) * UNITS[found[2]] if found else timedelta()
    if not timedelta() < span <= LONGEST_LIFETIME:
        raise ValueError(f"{text} is no length of time")
    return span


def label(text: str) -> str:
    """Raises: ValueError."""
    if not 1 <= len(text) <= LONGEST_LABEL:
        raise ValueError(f"{len(text)} characters")
    return text


def tenant_name(text: str) -> str:
    """Raises: ValueError."""
    if not TENANT_NAME.fullmatch(text):
        raise ValueError(f"{text} is no name")
    return text


LIFETIME = Parsed("length of time", lifetime, "90d, 12h or 30m")
LABEL = Parsed("text of 1 to 200 characters", label, "'ci of the vision team'")
TENANT = Parsed("name of a tenant", tenant_name, "vision-team (letters, digits, . _ -; at most 64)")
NUMBER = Parsed("number", number, "0.5 or 1/255")
SIZE = Parsed("size", size_bytes, "500000, 500kB or 1.5MiB")
OUTPUTS = Parsed("list of outputs", output_kinds, "keras,tflite,onnx")
EXISTING_FILE = click.Path(exists=True, dir_okay=False, readable=True)
