"""How the API process is served."""

import socket
import sys

import pytest
import uvicorn
from fastapi import FastAPI

from app import serve
from app.api.connections import Connection


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
