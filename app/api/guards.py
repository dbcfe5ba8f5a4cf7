"""What is refused everywhere: other sites' pages, unknown query parameters, and NUL."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.api.authentication import asks_for_keys
from app.api.complaints import MOST_COMPLAINTS, invalid, unknown_name
from app.api.deps import ServicesDep
from app.api.origins import refuse_other_names, refuse_other_sites
from app.api.rate_limits import refusal_of_address
from app.errors import Complaint, Forbidden, Malformed


async def refuse_other_pages(request: Request, services: ServicesDep) -> None:
    """A browser may be open to strangers' pages; this service is not.

    Refusals are written down, so they are counted as wrong keys are.
    """
    try:
        refuse_other_sites(request.method, request.headers)
        if not asks_for_keys(request.scope, services.settings.require_keys):
            refuse_other_names(request.headers, services.settings.allowed_hosts)
    except Forbidden as refused:
        too_many = await refusal_of_address(services, request.scope, "refused_pages")
        raise (too_many or refused) from None


async def refuse_unknown_query(request: Request) -> None:
    """A mistyped parameter must not be ignored, nor one of two that have one name."""
    allowed = query_names(request.scope["route"])
    given = Counter(name for name, _ in request.query_params.multi_items())
    unknown = sorted(set(given) - allowed)
    if unknown:
        complaints = [
            Complaint(
                pointer=f"/query/{name}", detail=unknown_name(name, allowed, "query parameter")
            )
            for name in unknown[:MOST_COMPLAINTS]
        ]
        raise invalid(complaints, untold=len(unknown) - len(complaints))
    if repeated := [name for name, count in given.items() if count > 1]:
        detail = "given more than once; give one value"
        raise invalid([Complaint(pointer=f"/query/{name}", detail=detail) for name in repeated])


def query_names(route: APIRoute) -> set[str]:
    """The query parameters that a path knows, one by one or as the fields of a model."""
    names: set[str] = set()
    for field in route.dependant.query_params:
        kind: object = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names.update(kind.model_fields)
        else:
            names.add(field.alias)
    return names


async def refuse_nul_in_url(request: Request) -> None:
    """Databases do not take it, and no id, name or filter holds it."""
    values = [request.url.path, *request.path_params.values(), *request.query_params.values()]
    if any("\0" in str(value) for value in values):
        raise Malformed("the URL holds %00, which no id, name or filter may")


def refuse_nul_in_body(body: dict[str, Any]) -> None:
    complaints = [
        Complaint(pointer=pointer, detail="holds a NUL character; leave it out")
        for pointer in _pointers_to_nul(body, "")
    ]
    if complaints:
        raise invalid(complaints)


def _pointers_to_nul(value: object, pointer: str) -> Iterator[str]:
    if isinstance(value, str) and "\0" in value:
        yield pointer
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _pointers_to_nul(item, f"{pointer}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _pointers_to_nul(item, f"{pointer}/{index}")
