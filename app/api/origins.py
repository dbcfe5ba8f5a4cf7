"""Whether a web page of somebody else is behind a request, through its visitor's browser.

A service on loopback that asks for no key is open to whoever runs programs here, and so to every
page that a browser here shows, unless it looks at what browsers say of their requests and pages
cannot change: `Sec-Fetch-Site`, `Origin` and `Host`.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from app.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of this service's own pages, or typed in by the user.
OWN_SITES = frozenset({"same-origin", "none"})


class CrossSiteRequest(Forbidden):
    code = "cross_site_request"
    title = "A web page of another site sent this"


class HostNotAllowed(Forbidden):
    code = "host_not_allowed"
    title = "This service does not answer under this name"


def refuse_other_sites(method: str, headers: Headers) -> None:
    """Nothing is changed at the wish of another site's page.

    Raises: CrossSiteRequest.
    """
    if method in SAFE_METHODS:
        return
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    is_foreign = any(site not in OWN_SITES for site in sites)
    host = headers.get("host")
    # A browser sends one of each: of two, a proxy and this service may each believe another.
    is_doubled = len(sites) > 1 or len(origins) > 1
    if is_foreign or is_doubled or not all(_is_origin_of(origin, host) for origin in origins):
        whose = " and ".join(origins) or "another site"
        raise CrossSiteRequest(
            f"a page of {whose!r} sent this {method} through a browser",
            hint="Send it from a program (curl, the client, a server of yours), or from a page "
            "that this service itself serves.",
        )


def refuse_other_names(headers: Headers, allowed: Collection[str]) -> None:
    """Names of this machine, addresses, and what is `allowed`.

    Any page can have its own name resolve to 127.0.0.1 and so be of one origin with what listens
    there; it cannot have a browser send another name than its own. An address is no name, and what
    sends no Host at all (a probe in HTTP/1.0) is no browser.

    Raises: HostNotAllowed.
    """
    hosts = headers.getlist("host")
    if len(hosts) < 2 and all(_is_allowed(_name_in(host), allowed) for host in hosts):
        return
    host = " and ".join(hosts)
    raise HostNotAllowed(
        f"the Host header is {host!r}; without keys it must be localhost, an IP address, or one "
        f"of {', '.join(sorted(allowed)) or 'PENJING_ALLOWED_HOSTS, which is empty'}",
        hint="Use http://localhost or http://127.0.0.1, or name this host in "
        "PENJING_ALLOWED_HOSTS, or ask for keys with PENJING_REQUIRE_KEYS=true.",
    )


def _is_origin_of(origin: str, host: str | None) -> bool:
    """The scheme is not compared: a proxy may have taken TLS off."""
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == str(host).lower()
    except ValueError:
        return False


def _name_in(host: str) -> str:
    """Without its port; in lower case, without the dot at its end."""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower().removesuffix(".")


def _is_allowed(name: str, allowed: Collection[str]) -> bool:
    return name in allowed or _is_of_this_machine(name) or _is_address(name)


def _is_of_this_machine(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
