"""The API process of the stack: `python -m app.embedded.serve FD` serves a socket it inherits.

The supervisor opens the socket and keeps it: the port is taken once, and while a dead API is being
restarted its clients wait in the backlog and see no refusal.
"""

import socket
import sys

import uvicorn

from app.main import create_app

# Event streams are endless: on shutdown they are cut after this, and clients resume.
CUT_STREAMS_AFTER_S = 2


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(
        create_app(),
        timeout_graceful_shutdown=CUT_STREAMS_AFTER_S,
        log_config=None,
        # Whose word counts is the setting `trusted_proxies`; uvicorn would take anybody's on this
        # machine.
        proxy_headers=False,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
