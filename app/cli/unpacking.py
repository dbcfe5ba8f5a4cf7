"""`penjing unpack`: the `.keras` file that a packed file was made from."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

import app
from app.cli.figures import bytes_text
from app.cli.frame import Exit, command
from app.cli.output import Output
from app.cli.parameters import EXISTING_FILE, SIZE
from app.errors import Invalid, Problem, Unavailable

# A process of the engine: what is here imports neither it nor numpy.
MODULE = "worker.engine.coding"
NEEDED = ("keras", "numba", "tensorflow")
IMPORT_ROOT = Path(app.__file__).parents[1]
MEMORY_BYTES = 8 * 2**30
LIMIT_S = 1800


class EngineMissing(Unavailable):
    code = "engine_missing"
    title = "The engine is not installed here"
    retryable = False


class NotUnpacked(Invalid):
    """What the process that unpacks said of the file."""

    code = "not_unpacked"
    title = "The file could not be unpacked"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, hint=problem.hint)
        self._problem = problem

    def as_problem(self) -> Problem:
        return self._problem


@click.command()
@click.argument("file", type=EXISTING_FILE)
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False), help="Default: FILE's name with .keras."
)
@click.option("--force", is_flag=True, help="Overwrite OUT.")
@click.option(
    "--memory", type=SIZE, default=MEMORY_BYTES, show_default="8GiB", help="Most it may take."
)
@command
def unpack(output: Output, /, file: str, out: str | None, force: bool, memory: int) -> Exit:
    """Turn a packed FILE back into the .keras file it was made from, bit for bit.

    FILE is what a job with the output 'packed' made. Nothing in it is run.
    """
    source = Path(file)
    target = Path(out) if out else source.with_suffix(".keras")
    if target.exists() and not force:
        raise Invalid(f"{target} is there already", hint="Name another with -o, or say --force.")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineMissing(
            f"unpacking needs Keras, but {', '.join(missing)} cannot be imported",
            hint="pip install 'penjing[worker]'",
        )
    size_bytes = _unpacked(source.absolute(), target.absolute(), memory)
    output.give({"file": str(target), "size_bytes": size_bytes})
    output.show(f"{target}  ({bytes_text(size_bytes)})")
    return Exit.MET


def _unpacked(source: Path, target: Path, memory_bytes: int) -> int:
    """Have it written beside the target, then put in place in one move. Returns its size."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as folder:
        made = Path(folder) / "model.keras"
        answer = _answer([str(source), str(made), str(memory_bytes)])
        if "problem" in answer:
            raise NotUnpacked(Problem.model_validate(answer["problem"]))
        made.replace(target)
    return int(answer["size_bytes"])


def _answer(arguments: list[str]) -> dict[str, Any]:
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", MODULE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(IMPORT_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Invalid(f"unpacking took longer than {LIMIT_S} s") from error
    lines = process.stdout.splitlines()
    if process.returncode != 0 or not lines:
        raise Invalid(
            f"the process that unpacks ended with status {process.returncode}",
            hint="It may have run out of memory; --memory allows more.",
        )
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
