"""The key that the client sends: where it comes from, whom it goes to, and that nobody sees it."""

import ipaddress
import os
import re
import warnings
from collections.abc import Generator, Mapping

import httpx

from app.errors import Malformed

VARIABLE = "PENJING_API_KEY"
# A token as RFC 6750 has it. Anything else would come back in the words of an HTTP library.
SENDABLE = re.compile(r"[A-Za-z0-9._~+/=\-]{1,512}", re.ASCII)


class KeyInTheClear(UserWarning):
    """A key goes over the network where others can read it."""


class BearerKey(httpx.Auth):
    """Sends the key to one service, and to no other that an answer may point at."""

    def __init__(self, key: str, service: httpx.URL) -> None:
        self._header = f"Bearer {key}"
        self._origin = _origin(service)

    def __repr__(self) -> str:
        return "BearerKey(...)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if _origin(request.url) == self._origin:
            request.headers["Authorization"] = self._header
        yield request


def bearer_key(given: str | None, service: httpx.URL) -> BearerKey | None:
    """The key given, else that of the environment, if there is one.

    Raises: Malformed where it cannot be one.
    Warns: KeyInTheClear.
    """
    key = (os.environ.get(VARIABLE, "") if given is None else given).strip()
    if not key:
        return None
    if not SENDABLE.fullmatch(key):
        raise Malformed(
            "the API key holds characters that no key has, or is too long",
            hint=f"Look at {VARIABLE} or --api-key; a key is one word like pj_..._...",
        )
    if service.scheme == "http" and not is_loopback(service.host):
        warnings.warn(
            f"the API key goes to {service.host} over plain http, where others may read it; "
            "use https if the service has it",
            KeyInTheClear,
            stacklevel=4,
        )
    return BearerKey(key, service)


def without_key(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process gets that has no use for the key."""
    return {name: value for name, value in environment.items() if name != VARIABLE}


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
