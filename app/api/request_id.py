"""Every request has an id: the caller's, if it is a decent one and no key, or a new one."""

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import API_KEY, REQUEST_ID

HEADER = "X-Request-ID"
DECENT = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


class RequestId:
    """ASGI middleware: names the request, and says the name in every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        # For good: the server runs each request in a task of its own, and logs it behind all this.
        REQUEST_ID.set(request_id)

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_named)


def request_id_of(scope: Scope) -> str:
    """The id of this request; made on the first call, the same on every later one."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        given = Headers(scope=scope).get(HEADER, "")
        # It is answered, logged and written down, where no key may be.
        is_decent = DECENT.fullmatch(given) and not API_KEY.search(given)
        state["request_id"] = given if is_decent else f"req_{secrets.token_hex(12)}"
    return str(state["request_id"])
