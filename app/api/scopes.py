"""What a handler needs of who asks: the one place where a route says it is in its signature.

`principal: Reader` in a handler's arguments is its scope, what it is documented with, and where it
gets the tenant from. A route without one is refused by `tests/app/api/test_scopes.py`.
"""

from collections.abc import Collection
from typing import Annotated

from fastapi import Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer, SecurityScopes

from app.accounts.principal import Principal, Scope
from app.api.deps import ServicesDep
from app.api.origins import SAFE_METHODS
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


Reader = Annotated[Principal, Security(admitted, scopes=[Scope.READ])]
Submitter = Annotated[Principal, Security(admitted, scopes=[Scope.SUBMIT])]
Admin = Annotated[Principal, Security(admitted, scopes=[Scope.ADMIN])]
