"""How the API process is served."""

import asyncio
import json
import logging
import socket
import sys

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from app import serve
from app.api.connections import Connection
from app.api.request_id import RequestId
from app.logs import JsonFormatter


def test_api_is_served_by_our_own_connections_and_does_not_say_by_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[uvicorn.Config] = []
    monkeypatch.setattr(serve, "create_app", lambda settings: FastAPI())

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        served.append(server.config)
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with socket.socket() as listener:
        monkeypatch.setattr(sys, "argv", ["serve", "--fd", str(listener.detach())])
    serve.main()
    [config] = served
    assert (config.server_header, config.proxy_headers, config.ws) == (False, False, "none")
    assert config.http.func is Connection  # type: ignore[union-attr]  # made by a partial


@pytest.mark.anyio
async def test_access_line_names_the_request() -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    access = logging.getLogger("uvicorn.access")
    kept = Kept()
    access.addHandler(kept)
    try:
        await asyncio.create_task(said_and_logged("mine-1"))
        await asyncio.create_task(said_and_logged("mine-2"))
        access.warning("of no request")
    finally:
        access.removeHandler(kept)
    assert [json.loads(line).get("request_id") for line in lines] == ["mine-1", "mine-2", None]


async def said_and_logged(request_id: str) -> None:
    """As uvicorn has it: a task a request, and its line behind everything that answers."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        logging.getLogger("uvicorn.access").warning("sent")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    headers = [(b"x-request-id", request_id.encode())]
    await RequestId(application)({"type": "http", "headers": headers}, receive, send)
