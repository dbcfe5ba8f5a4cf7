"""`penjing up`: the whole service on this machine until Ctrl-C."""

import functools
import os
from pathlib import Path

import click

from app.cli.frame import Exit, command, home_option
from app.cli.output import Output
from app.client.transport import is_loopback
from app.embedded.lock import RunningStack
from app.embedded.stack import Stack


@click.command()
@home_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 = any free one.",
)
@command
def up(output: Output, home: Path, host: str, port: int) -> Exit:
    """Run broker, API and worker here until Ctrl-C; restart what dies.

    All state is kept in --home; the next run continues it.
    """
    if not is_loopback(host):
        output.say(
            f"Careful: {host} can be reached from other machines, and whoever reaches it may use "
            "the service. Put it behind something that asks who is there."
        )
    output.say(f"Starting broker, API and worker in {home} ...")
    stack = Stack(home, host, port, stop_hint=" (Ctrl-C again to kill it)")
    stack.run(os.environ, output.say, functools.partial(announce, output, home))
    output.say("Stopped.")
    return Exit.MET


def announce(output: Output, home: Path, stack: RunningStack) -> None:
    """Say where it is."""
    output.give({"url": stack.url, "home": str(home), "pid": stack.pid})
    output.show(f"Penjing is ready at {stack.url} (documentation: {stack.url}/docs)")
    output.say("Ctrl-C stops it.")
