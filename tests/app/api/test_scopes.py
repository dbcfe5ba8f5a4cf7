"""Every route says what it needs: a scope, or nothing because it is open to all."""

import pytest
from fastapi.routing import APIRoute

from app.accounts.principal import Scope
from app.api.application import ROUTERS
from app.api.authentication import OPEN_PATHS
from app.api.scopes import admitted

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
SAFE = {"GET", "HEAD"}


def scopes_of(route: APIRoute) -> list[Scope]:
    """What `Reader`, `Submitter` or `Admin` in the signature says."""
    return [
        Scope(scope)
        for needed in route.dependant.dependencies
        if needed.call is admitted
        for scope in needed.own_oauth_scopes or ()
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_route_says_what_it_needs(route: APIRoute) -> None:
    scopes = scopes_of(route)
    if route.path in OPEN_PATHS:
        assert (scopes, route.methods) == ([], {"GET"})
        return
    assert len(scopes) == 1, "give the handler a `principal: Reader`, `Submitter` or `Admin`"
    assert scopes != [Scope.READ] or (route.methods or set()) <= SAFE, "READ is for GET and HEAD"


def test_open_paths_are_those_of_routes() -> None:
    assert OPEN_PATHS - {route.path for route in ROUTES} == {"/openapi.json"}
