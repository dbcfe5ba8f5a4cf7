"""`penjing up`: the whole service on this machine until Ctrl-C."""

import functools
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click
import httpx

from app.api.checks import ALARMS
from app.cli.frame import Exit, command, home_option
from app.cli.keys import accounts_of
from app.cli.output import Output
from app.client.credentials import is_loopback
from app.embedded.lock import RunningStack
from app.embedded.stack import Stack
from app.errors import Invalid
from app.settings import PREFIX, Settings

READINESS_LIMIT_S = 5.0
REQUIRE_KEYS = f"{PREFIX}REQUIRE_KEYS"


class KeysNeeded(Invalid):
    code = "keys_needed"
    title = "A service that others can reach asks for keys"


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
    environment = dict(os.environ)
    if not is_loopback(host):
        require_keys(home, host, environment)
        environment[REQUIRE_KEYS] = "true"
        output.say(f"{host} can be reached from other machines: every request needs a key.")
    output.say(f"Starting broker, API and worker in {home} ...")
    stack = Stack(home, host, port, stop_hint=" (Ctrl-C again to kill it)")
    stack.run(environment, output.say, functools.partial(announce, output, home))
    output.say("Stopped.")
    return Exit.MET


def require_keys(home: Path, host: str, environment: Mapping[str, str]) -> None:
    """Other machines get no service that asks for no keys, or that nobody has a key of.

    Raises: KeysNeeded, and what `accounts_of` raises.
    """
    settings = Settings.from_environment({**environment, "PENJING_HOME": str(home)})
    if settings.require_keys is False:
        raise KeysNeeded(
            f"{host} can be reached from other machines, and {REQUIRE_KEYS} is false",
            hint=f"Unset {REQUIRE_KEYS}; behind a proxy on this machine, listen on 127.0.0.1.",
        )
    with accounts_of(home) as accounts:
        if not accounts.has_admin():
            raise KeysNeeded(
                f"{host} can be reached from other machines, and there is no admin key yet",
                hint=f"Make one: penjing keys create --home {home} --name admin --scope admin",
            )


def announce(output: Output, home: Path, stack: RunningStack) -> None:
    """Say where it is."""
    output.give({"url": stack.url, "home": str(home), "pid": stack.pid})
    output.show(f"Penjing is ready at {stack.url} (for browsers, too; API: {stack.url}/docs)")
    for alarm in alarms(stack.url):
        output.alarm(alarm)
    output.say("Ctrl-C stops it.")


def alarms(url: str) -> list[str]:
    """What is allowed here, and dangerous; nobody is to overlook it."""
    with suppress(httpx.HTTPError, LookupError, ValueError):
        answer = httpx.get(f"{url}/readyz", timeout=READINESS_LIMIT_S, trust_env=False)
        said = [check["detail"] for check in answer.json()["checks"].values()]
        return [alarm for alarm in ALARMS if alarm in said]
    return []
