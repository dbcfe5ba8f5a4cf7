"""How the API process of the stack is served."""

import socket
import sys

import pytest
import uvicorn
from fastapi import FastAPI

from app.embedded import serve


def test_api_does_not_say_what_serves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[uvicorn.Config] = []
    monkeypatch.setattr(serve, "create_app", FastAPI)

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        served.append(server.config)
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with socket.socket() as listener:
        monkeypatch.setattr(sys, "argv", ["serve", str(listener.detach())])
    serve.main()
    assert [config.server_header for config in served] == [False]
