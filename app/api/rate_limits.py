"""How often a key and a tenant may ask, and an address be refused; said where it was counted.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers. Who needs no
key is not counted: a client on the same machine polls as often as it likes.
"""

from collections.abc import Iterator, Sequence

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accounts.errors import TooManyRequests
from app.accounts.principal import Principal
from app.accounts.rates import Rate, RateDecision
from app.api import problems
from app.api.addresses import address_of, counted_as
from app.api.deps import Services

WINDOW_S = 60
OF_ALL_KEYS = "tenant_"


class RateLimits:
    """ASGI middleware, inside of who says who asks: counts requests and uploads."""

    def __init__(self, app: ASGIApp, uploads: frozenset[str]) -> None:
        self.app = app
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal | None = scope.get("state", {}).get("principal")
        if scope["type"] != "http" or principal is None or principal.key_id is None:
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        is_upload = scope["method"] == "POST" and scope["path"] in self.uploads
        taken, refused = [], None
        for rate, whose in rates_of(services, principal, is_upload=is_upload):
            taken.append(await count(services, rate, whose))
            # What is refused by one count is no part of the next.
            if not taken[-1].is_allowed:
                refused = taken[-1]
                break

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start" and taken:
                MutableHeaders(scope=message).update(headers_of(taken))
            await send(message)

        if refused is None:
            await self.app(scope, receive, send_counted)
            return
        answer = await problems.answer_to(Request(scope), too_many(refused, who(refused.rate)))
        await answer(scope, receive, send_counted)


def rates_of(
    services: Services, principal: Principal, *, is_upload: bool
) -> Iterator[tuple[Rate, str]]:
    """What this request counts as, and for whom: for its key, then for all keys of its tenant."""
    settings = services.settings
    wanted = {"requests": settings.rate_limit_requests}
    if is_upload:
        wanted["uploads"] = settings.rate_limit_uploads
    for whose, prefix, times in (
        (principal.key_id or "", "", 1),
        (principal.tenant_id, OF_ALL_KEYS, settings.rate_limit_tenant_keys),
    ):
        for name, per_minute in wanted.items():
            if per_minute * times:
                yield Rate(prefix + name, per_minute * times), whose


async def count(services: Services, rate: Rate, whose: str) -> RateDecision:
    return RateDecision.of(rate, await services.rates.take(f"{rate.name}:{whose}", rate))


async def refusal_of_address(
    services: Services, scope: Scope, what: str = "refused_keys"
) -> TooManyRequests | None:
    """Counts one more of `what` from where this request came; the error once it is too many."""
    if not services.settings.rate_limit_refused_keys:
        return None
    rate = Rate(what, services.settings.rate_limit_refused_keys)
    address = address_of(scope, services.settings.trusted_proxies)
    taken = await count(services, rate, counted_as(address))
    return None if taken.is_allowed else too_many(taken, "this address")


def who(rate: Rate) -> str:
    return "all keys of this tenant" if rate.name.startswith(OF_ALL_KEYS) else "this key"


def too_many(taken: RateDecision, whose: str) -> TooManyRequests:
    what = taken.rate.name.removeprefix(OF_ALL_KEYS).replace("_", " ")
    return TooManyRequests(
        f"{whose} may have {taken.rate.per_minute} {what} a minute",
        taken.retry_after_s,
        hint="Wait as long as Retry-After says; 'Prefer: wait=30' and the event stream of a job "
        "tell of news without asking again and again.",
    )


def headers_of(taken: Sequence[RateDecision]) -> dict[str, str]:
    policies = (f'"{one.rate.name}";q={one.rate.per_minute};w={WINDOW_S}' for one in taken)
    limits = (f'"{one.rate.name}";r={one.remaining};t={one.reset_s}' for one in taken)
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}
