"""`penjing unpack`: the `.keras` file that a packed file was made from."""

import importlib.util
import tempfile
from pathlib import Path

import click

from app.cli.frame import Exit, command
from app.cli.output import Output
from app.cli.parameters import EXISTING_FILE, SIZE
from app.cli.unpacking_process import Unpacking
from app.errors import Invalid, Problem, Unavailable
from app.reports.figures import bytes_text

NEEDED = ("keras", "numba", "tensorflow")
# What a process may take for a small file, for each byte of a larger one, and at most: packed files
# are up to some hundred times smaller than what they stand for, and one made on purpose may stand
# for anything.
LEAST_MEMORY_BYTES, MEMORY_A_BYTE, MOST_MEMORY_BYTES = 4 * 2**30, 1024, 8 * 2**30
LEAST_S, BYTES_A_SECOND, MOST_S = 180, 4096, 3600


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
    "--memory",
    type=SIZE,
    help="Most it may take. Default: 4GiB, more for a file above 4MiB, at most 8GiB.",
)
@command
def unpack(output: Output, /, file: str, out: str | None, force: bool, memory: int | None) -> Exit:
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
    size_bytes = _unpacked(
        output, source.absolute(), target.absolute(), memory or memory_for(source)
    )
    output.give({"file": str(target), "size_bytes": size_bytes})
    output.show(f"{target}  ({bytes_text(size_bytes)})")
    return Exit.MET


def memory_for(source: Path) -> int:
    needed = MEMORY_A_BYTE * source.stat().st_size
    return min(MOST_MEMORY_BYTES, max(LEAST_MEMORY_BYTES, needed))


def seconds_for(source: Path) -> int:
    return min(MOST_S, LEAST_S + source.stat().st_size // BYTES_A_SECOND)


def _unpacked(output: Output, source: Path, target: Path, memory_bytes: int) -> int:
    """Have it written beside the target, then put in place in one move. Returns its size."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as folder:
        unpacking = Unpacking(source, Path(folder), memory_bytes, seconds_for(source))
        answer = unpacking.answer(output)
        if "problem" in answer:
            raise NotUnpacked(Problem.model_validate(answer["problem"]))
        size_bytes = unpacking.size_bytes()
        unpacking.made.replace(target)
    return size_bytes
