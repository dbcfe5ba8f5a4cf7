"""Who asks: found out before anything else of a request is read."""

from functools import partial

import anyio.to_thread
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.accounts.keys import MARK, SpentKey, Unauthenticated
from app.accounts.principal import ANYBODY, Principal
from app.accounts.service import AccountService
from app.api import problems
from app.api.addresses import address_in
from app.api.deps import Services
from app.api.rate_limits import refusal_of_address
from app.errors import PenjingError

# What says nothing of any tenant: probes, the version, the documentation.
OPEN_PATHS = frozenset(
    {
        *("/livez", "/healthz", "/readyz", "/v1/version"),
        *("/openapi.json", "/docs", "/docs/reference.css", "/dashboard.css"),
    }
)
# What shows itself without a key, too, and then nothing of any tenant.
GUEST_PATHS = frozenset({"/"})
MOST_THREADS = 8


class Authentication:
    """ASGI middleware: to who is not known it opens `OPEN_PATHS`, and `GUEST_PATHS` by half.

    There, `principal` is null for who brings no key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Its own: nobody waits to be known because others' requests keep all threads busy.
        self._threads = anyio.CapacityLimiter(MOST_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        asked = asks_for_keys(scope, services.settings.require_keys)
        find = partial(
            principal_of,
            services.accounts,
            Headers(scope=scope),
            is_key_asked=asked,
            has_guests=scope["path"] in GUEST_PATHS,
        )
        try:
            principal = await anyio.to_thread.run_sync(find, limiter=self._threads)
        except (PenjingError, SQLAlchemyError) as refused:
            if isinstance(refused, SpentKey):
                scope.setdefault("state", {})["spent_by"] = refused.principal
            is_wrong_key = isinstance(refused, Unauthenticated)
            too_many = await refusal_of_address(services, scope) if is_wrong_key else None
            error = too_many or refused
            answer = await problems.answer_to(Request(scope), error)
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        await self.app(scope, receive, send)


def principal_of(
    accounts: AccountService, headers: Headers, *, is_key_asked: bool, has_guests: bool
) -> Principal | None:
    """Where no key is asked for, one of ours is looked at all the same, and nothing else is.

    Null only where there may be guests, for who brings no key where one is asked for.

    Raises: Unauthenticated.
    """
    given = _bearer_token(headers)
    if is_key_asked and given is None and has_guests:
        return None
    if is_key_asked and given is None:
        raise Unauthenticated(
            "this service asks for a key, and none was given",
            hint="Send the header 'Authorization: Bearer pj_...', or set PENJING_API_KEY for the "
            "command line; `penjing keys create` makes a key.",
        )
    # Another token may be meant for the proxy that guards a service without keys.
    if given is None or not (is_key_asked or given.startswith(MARK)):
        return ANYBODY
    return accounts.authenticate(given)


def asks_for_keys(scope: Scope, require_keys: bool | None) -> bool:
    """Null: unless the connection arrived on this machine itself, and not through a proxy."""
    if require_keys is not None:
        return require_keys
    return not _arrived_locally(scope) or _came_through_proxy(Headers(scope=scope))


def _arrived_locally(scope: Scope) -> bool:
    """Where the socket listens that took the connection: the server's word, not the client's."""
    host, port = scope.get("server") or ("", None)
    if port is None:
        return str(host).startswith("/")  # a unix socket
    address = address_in(host)
    return address is not None and address.is_loopback


def _came_through_proxy(headers: Headers) -> bool:
    """Whether a proxy says so: it stands between this machine and whoever it speaks for.

    By `Via`, `Forwarded`, `X-Forwarded-For`, `X-Real-IP`, `CF-Connecting-IP` and their kind.
    """
    return any(name == "via" or "forwarded" in name or name.endswith("-ip") for name in headers)


def _bearer_token(headers: Headers) -> str | None:
    """Raises: Unauthenticated where there are two of them."""
    given = headers.getlist("authorization")
    if len(given) > 1:
        raise Unauthenticated("there are two Authorization headers", hint="Send one key.")
    kind, _, token = given[0].partition(" ") if given else ("", "", "")
    return token.strip(" \t") if kind.lower() == "bearer" else None
