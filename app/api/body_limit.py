"""JSON bodies are small and come at once: what is more, or too slow, is refused as it arrives."""

import asyncio
import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.origins import SAFE_METHODS

# A job with every technique at its longest has a tenth of it.
MAX_JSON_BYTES = 256 * 1024
# A caller that sends nothing for this long is gone.
IDLE_S = 20.0
# One that is slower than 35 kbit/s is taken for one that only holds the connection.
WHOLE_S = 60.0


class BodyLimit:
    """ASGI middleware: an upper bound for every body, but for those that `streamed` paths take."""

    def __init__(
        self, app: ASGIApp, streamed: frozenset[str], max_bytes: int = MAX_JSON_BYTES
    ) -> None:
        self.app = app
        self.streamed = streamed
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.streamed:
            await self.app(scope, receive, send)
            return
        if (announced_bytes(Headers(scope=scope)) or 0) > self.max_bytes:
            receive = self._refuse
        # Where a body says nothing, nobody waits for one; a client that leaves is waited for.
        elif scope["method"] not in SAFE_METHODS:
            receive = in_time(receive)
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                await self._refuse()
            return message

        await self.app(scope, receive_bounded, send)

    async def _refuse(self) -> Message:
        # An HTTPException, because FastAPI hides every other one that is raised while it reads.
        raise HTTPException(413, f"the body may have {self.max_bytes} bytes at most")


def announced_bytes(headers: Headers) -> int | None:
    """What Content-Length says, if it says anything. Longer numbers are as good as this one."""
    given = headers.get("content-length", "")
    return int(given[:19]) if re.fullmatch("[0-9]+", given) else None


def in_time(receive: Receive) -> Receive:
    """The same messages; 408 where the rest of the body does not come."""
    clock = asyncio.get_running_loop().time
    begun_at, is_complete = clock(), False

    async def receive_in_time() -> Message:
        nonlocal is_complete
        if is_complete:
            return await receive()  # only the client's leaving is still to come
        try:
            async with asyncio.timeout_at(min(clock() + IDLE_S, begun_at + WHOLE_S)):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(
                408,
                f"the body came too slowly: something is expected every {IDLE_S:g} s, and all of "
                f"it within {WHOLE_S:g} s",
                {"Connection": "close"},
            ) from error
        is_complete = not message.get("more_body", False)
        return message

    return receive_in_time
