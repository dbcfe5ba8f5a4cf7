"""JSON bodies are small: more bytes than that are refused before they are held in memory."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_BYTES = 2**20


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
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self.max_bytes:
            receive = self._refuse
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
