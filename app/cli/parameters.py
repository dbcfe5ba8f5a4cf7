"""Types of command-line values beyond click's own."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import click

from app.cli.flags import number, output_kinds, size_bytes

Value = TypeVar("Value")


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


NUMBER = Parsed("number", number, "0.5 or 1/255")
SIZE = Parsed("size", size_bytes, "500000, 500kB or 1.5MiB")
OUTPUTS = Parsed("list of outputs", output_kinds, "keras,tflite,onnx")
EXISTING_FILE = click.Path(exists=True, dir_okay=False, readable=True)
