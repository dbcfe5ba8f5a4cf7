"""Reads the requests of a connection; those that another reader may take for others are none."""

from typing import Any

import h11


class StrictParser(h11.Connection):
    """Takes from a connection the requests that every reader understands alike."""

    def next_event(self) -> Any:
        """Raises: h11.RemoteProtocolError, which is answered with 400."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("another version of HTTP")
            # RFC 9112, 6.1 and 6.3: how smuggled requests begin.
            if b"transfer-encoding" in names and (
                b"content-length" in names or event.http_version == b"1.0"
            ):
                raise h11.RemoteProtocolError("two lengths of one body")
        return event
