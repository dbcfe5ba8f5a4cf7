"""The commands together."""

import signal
import sys
from types import FrameType

import click

from app.cli.demo import demo
from app.cli.doctor import doctor
from app.cli.frame import Commands
from app.cli.inspecting import inspect
from app.cli.jobs import jobs
from app.cli.keys import keys
from app.cli.optimize import optimize
from app.cli.tenants import audit, quotas
from app.cli.unpacking import unpack
from app.cli.up import up


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="penjing", prog_name="penjing", message="%(prog)s %(version)s")
def penjing() -> None:
    """Make Keras models smaller and faster, and see what it cost.

    A job applies a recipe to a model and reports what changed.
    """


for subcommand in (up, demo, optimize, jobs, inspect, unpack, keys, quotas, audit, doctor):
    penjing.add_command(subcommand)


def main() -> None:
    """The entry point. A SIGTERM unwinds like an exit, so that a stack started here is stopped."""
    signal.signal(signal.SIGTERM, _exit)
    penjing(prog_name="penjing")


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
