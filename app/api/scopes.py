"""What a handler needs of who asks: the one place where a route says it is in its signature.

`principal: Reader` in a handler's arguments is its scope, what it is documented with, and where it
gets the tenant from. One that changes something has a `change: Submits` in its place, which goes
along to where it is written; one that shows less to who brings no key, instead of refusing it, has
a `guest: Guest`. `tests/app/api/test_scopes.py` refuses a route without.
"""

from collections.abc import Collection
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer, SecurityScopes

from app.accounts.audited_changes import AuditedChange
from app.accounts.principal import Principal, Scope
from app.api.addresses import address_of
from app.api.auditing import action_of
from app.api.deps import ServicesDep
from app.api.origins import SAFE_METHODS
from app.api.request_id import request_id_of
from app.errors import Forbidden

# Only says in the OpenAPI document how a key is sent; `Authentication` has read it before.
BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="api_key",
    bearerFormat="pj_<prefix>_<secret>",
    description="A key from `penjing keys create` or `POST /v1/api-keys`. On loopback none is "
    "asked for, unless the service is told to.",
)


class ScopeMissing(Forbidden):
    code = "scope_missing"
    title = "This key may not do that"

    def __init__(self, needed: Scope, given: Collection[Scope]) -> None:
        super().__init__(
            f"this needs the scope {needed.value!r}; the key has {', '.join(sorted(given))}",
            hint=f"Use a key with the scope {needed.value!r}; an admin of the tenant makes one.",
        )
        self.needed = needed


async def admitted(
    request: Request,
    needed: SecurityScopes,
    services: ServicesDep,
    _documented: Annotated[object, Security(BEARER)],
) -> Principal:
    """Who asks, if it may; before a change once more, since its body may have taken its time.

    Raises: ScopeMissing; Unauthenticated where the key is not good any more.
    """
    principal: Principal = request.state.principal
    for scope in map(Scope, needed.scopes):
        if not principal.may(scope):
            raise ScopeMissing(scope, principal.scopes)
    if request.method not in SAFE_METHODS and principal.key_id is not None:
        await run_in_threadpool(services.accounts.require_still_good, principal)
    return principal


async def deed_of(
    request: Request, services: ServicesDep, principal: Annotated[Principal, Depends(admitted)]
) -> AuditedChange:
    """The change that this request asks for, as it is written down once it is made."""
    route: APIRoute = request.scope["route"]
    return AuditedChange(
        tenant_id=principal.tenant_id,
        action=action_of(route.name),
        status=route.status_code or 200,
        key_id=principal.key_id,
        address=address_of(request.scope, services.settings.trusted_proxies),
        request_id=request_id_of(request.scope),
    )


async def admitted_or_guest(
    request: Request,
    needed: SecurityScopes,
    services: ServicesDep,
    documented: Annotated[object, Security(BEARER)],
) -> Principal | None:
    """Null only at `GUEST_PATHS`, for who brings no key where one is asked for.

    Raises: what `admitted` raises.
    """
    if request.state.principal is None:
        return None
    return await admitted(request, needed, services, documented)


Guest = Annotated[Principal | None, Security(admitted_or_guest, scopes=[Scope.READ])]
Reader = Annotated[Principal, Security(admitted, scopes=[Scope.READ])]
Submitter = Annotated[Principal, Security(admitted, scopes=[Scope.SUBMIT])]
Admin = Annotated[Principal, Security(admitted, scopes=[Scope.ADMIN])]
Submits = Annotated[AuditedChange, Security(deed_of, scopes=[Scope.SUBMIT])]
Administers = Annotated[AuditedChange, Security(deed_of, scopes=[Scope.ADMIN])]
