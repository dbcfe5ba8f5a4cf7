"""The events of a job as they happen, over any number of connections, without a gap."""

from collections.abc import Iterable, Iterator

import httpx

from app.client.problems import ApiProblem
from app.client.transport import MOST_RETURNS, Transport
from app.jobs.views import EventView

# The service speaks at least every 10 s; silence beyond this is a dead connection.
SILENCE_S = 30.0
RECONNECT_PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
NOTHING_MORE = 204


class NothingMore(Exception):
    """The job is final and all its events were told."""


def follow(transport: Transport, path: str, after: int) -> Iterator[EventView]:
    """Every event after `after`, each once, until the job is final.

    A lost connection is taken up again after the last event that came (Last-Event-ID), a refused
    one when the service says.
    Raises: ApiProblem, ServiceUnreachable when reconnecting failed for half a minute.
    """
    fruitless = refused = 0
    while True:
        lost: httpx.TransportError | None = None
        begun_after = after
        try:
            for event in connection(transport, path, after):
                after = event.seq
                yield event
        except NothingMore:
            return
        except ApiProblem as refusal:
            if refusal.retry_after_s is None or refused == MOST_RETURNS:
                raise
            refused += 1
            transport.sleep(refusal.retry_after_s)
            continue
        except httpx.TransportError as error:
            lost = error
        refused = 0 if after > begun_after else refused
        fruitless = 0 if after > begun_after else fruitless + 1
        if lost and fruitless == len(RECONNECT_PAUSES_S):
            raise transport.unreachable(lost) from lost
        transport.sleep(RECONNECT_PAUSES_S[min(fruitless, len(RECONNECT_PAUSES_S) - 1)])


def connection(transport: Transport, path: str, after: int) -> Iterator[EventView]:
    """What one connection tells until it ends. Raises: NothingMore."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    with transport.stream(path, headers, SILENCE_S) as response:
        if response.status_code == NOTHING_MORE:
            raise NothingMore
        yield from parsed(response.iter_lines())


def parsed(lines: Iterable[str]) -> Iterator[EventView]:
    """The events in a text/event-stream; one that was cut off is not among them."""
    data: list[str] = []
    for line in lines:
        if line == "" and data:
            yield EventView.model_validate_json("\n".join(data))
            data = []
        elif line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
