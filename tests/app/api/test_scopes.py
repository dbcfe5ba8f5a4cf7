"""Every route says what it needs: a scope, or nothing because it is open to all."""

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.accounts.principal import Scope
from app.api.auditing import HARMLESS
from app.api.authentication import GUEST_PATHS, OPEN_PATHS
from app.api.origins import SAFE_METHODS
from app.api.scopes import admitted, admitted_or_guest, deed_of
from tests.app.api.given import ROUTES


def scopes_of(route: APIRoute) -> list[Scope]:
    """What `Reader`, `Submits` or another of them in the signature says."""
    asking = (admitted_or_guest,) if route.path in GUEST_PATHS else (admitted, deed_of)
    return [
        Scope(scope)
        for needed in route.dependant.dependencies
        if needed.call in asking
        for scope in needed.own_oauth_scopes or ()
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_route_says_what_it_needs(route: APIRoute) -> None:
    scopes = scopes_of(route)
    if route.path in OPEN_PATHS:
        assert (scopes, route.methods) == ([], {"GET"})
        return
    assert len(scopes) == 1, "give the handler a `principal: Reader`, `Submitter` or `Admin`"
    assert scopes != [Scope.READ] or (route.methods or set()) <= SAFE_METHODS, (
        "READ is for GET and HEAD"
    )


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_route_that_changes_something_is_given_its_deed(route: APIRoute) -> None:
    is_change = not (route.methods or set()) <= SAFE_METHODS and route.name not in HARMLESS
    is_given = any(needed.call is deed_of for needed in route.dependant.dependencies)
    assert is_given == is_change, "give the handler a `change: Submits` or `Administers`"


def reads_a_body(needed: Dependant) -> bool:
    return bool(needed.body_params) or any(map(reads_a_body, needed.dependencies))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_body_is_looked_at_for_nobody_who_may_not_send_it(route: APIRoute) -> None:
    # In the order of the signature; what the handler itself takes of a body comes after all.
    for needed in route.dependant.dependencies:
        if needed.call in (admitted, admitted_or_guest, deed_of):
            return
        assert not reads_a_body(needed), "let `principal` or `change` be the first argument"


def test_open_paths_are_those_of_routes() -> None:
    assert {route.path for route in ROUTES} >= GUEST_PATHS
    assert OPEN_PATHS - {route.path for route in ROUTES} == {"/openapi.json"}
