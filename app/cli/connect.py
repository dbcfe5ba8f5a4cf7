"""The service a command talks to: a given one, or the stack of a home."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.frame import api_key
from app.cli.output import Output
from app.client import Client
from app.client.credentials import KeyInTheClear
from app.embedded.borrowed import borrowed_stack
from app.embedded.lock import is_locked


@contextmanager
def connected(
    url: str | None, home: Path, output: Output, *, is_reading: bool = False
) -> Iterator[Client]:
    """A client of `url`, else of the stack that runs on `home`, else of one started here.

    One that is started for reading runs no jobs.

    Raises: StackNotStarted, Malformed.
    """
    if url:
        with client_of(url, output) as client:
            yield client
        return
    is_ours = not is_locked(home)
    if is_ours:
        what = "the API" if is_reading else "broker, API and worker"
        output.say(f"Starting {what} in {home} ...")
    with (
        borrowed_stack(home, is_reading=is_reading) as stack,
        client_of(stack.url, output) as client,
    ):
        output.say(f"The stack answers at {stack.url}")
        yield client
        if is_ours:
            output.say("Stopping the stack ...")


def client_of(url: str, output: Output) -> Client:
    """A client with the key of this command; a person is told where others may read it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", KeyInTheClear)
        client = Client(url, api_key=api_key())
    for warning in caught:
        output.say(f"Careful: {warning.message}.")
    return client
