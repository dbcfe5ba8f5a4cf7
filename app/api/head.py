"""HEAD is GET without the content (RFC 9110), on every path that knows GET."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware: asks the routes by GET, and lets nothing through but the head.

    Files have a HEAD of their own, which reads nothing. A stream of events has none: it would not
    end.
    """

    def __init__(self, app: ASGIApp, is_asked_by_get: Callable[[str], bool]) -> None:
        self.app = app
        self.is_asked_by_get = is_asked_by_get

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        if not is_head or not self.is_asked_by_get(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            # What is outside, the server too, knows the request as it came.
            scope["method"] = "HEAD"
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        scope["method"] = "GET"
        try:
            await self.app(scope, receive, send_head)
        finally:
            scope["method"] = "HEAD"
