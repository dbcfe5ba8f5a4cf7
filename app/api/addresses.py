"""Where a request came from: what the socket says, and proxies as far as they are trusted."""

import ipaddress
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from starlette.datastructures import Headers
from starlette.types import Scope

HEADER = "x-forwarded-for"
# 9.9.9.9:443, [2001:db8::1] and [2001:db8::1]:443, as some proxies write them.
WITH_PORT = re.compile(r"([0-9.]+):[0-9]+|\[([^\]]+)\](?::[0-9]+)?")


def address_of(scope: Scope, trusted: Sequence[IPv4Network | IPv6Network]) -> str | None:
    """The peer; where that is a trusted proxy, whom it names, and so on from the right.

    Everything left of the first address that nobody trusts is the caller's own words. Null for what
    is no address.
    """
    peer = scope.get("client")
    address = address_in(peer[0]) if peer else None
    given = Headers(scope=scope).getlist(HEADER)
    hops = [hop for line in given for hop in line.split(",")]
    while address and hops and any(address in network for network in trusted):
        address = address_in(hops.pop())
    return str(address) if address else None


def is_trusted(peer: str, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether it speaks for others."""
    address = address_in(peer)
    return address is not None and any(address in network for network in trusted)


def counted_as(address: str | None) -> str:
    """Whom it is counted for: an IPv6 address by its /64, which one caller has all of."""
    found = address_in(address or "")
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, 64), strict=False))
    return str(found) if found else "unknown"


def address_in(text: str) -> IPv4Address | IPv6Address | None:
    """Without port and zone; an IPv4 address that is written as an IPv6 one is itself."""
    found = WITH_PORT.fullmatch(text.strip())
    bare = (found[1] or found[2]) if found else text.strip()
    try:
        # A zone (fe80::1%eth0) may be any text, and means nothing to anybody else.
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
