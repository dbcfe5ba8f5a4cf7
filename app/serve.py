"""The API process: `python -m app.serve --host 0.0.0.0`, or `--fd N` for a socket it inherits."""

import argparse
import socket
import sys
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.api.connections import Connection, ConnectionLimits
from app.main import create_app
from app.settings import Settings

# Event streams are endless: on shutdown they are cut after this, and clients resume.
CUT_STREAMS_AFTER_S = 2
NOT_STARTED = 3


def main() -> int:
    given = arguments()
    settings = Settings.from_environment()
    limits = ConnectionLimits.of_this_process(settings.trusted_proxies)
    config = configured(create_app(settings), limits, host=given.host, port=given.port)
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=given.fd)] if given.fd is not None else None)
    return 0 if server.started else NOT_STARTED


def configured(application: FastAPI, limits: ConnectionLimits, **more: Any) -> uvicorn.Config:
    options: dict[str, Any] = {
        # Whatever else is installed: all of a connection is bounded, and none is a WebSocket.
        "http": partial(Connection, limits=limits),
        "ws": "none",
        "timeout_graceful_shutdown": CUT_STREAMS_AFTER_S,
        "log_config": None,
        # Whose word counts is the setting `trusted_proxies`; uvicorn would take anybody's on this
        # machine.
        "proxy_headers": False,
        "server_header": False,
    }
    return uvicorn.Config(application, **options | more)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="an open socket, in place of host and port")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
