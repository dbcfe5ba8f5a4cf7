"""What is refused on every path: unknown query parameters, and NUL in a URL."""

from fastapi import Request

from app.api.complaints import invalid, unknown_name
from app.errors import Complaint, Malformed


def refuse_unknown_query(request: Request) -> None:
    """A mistyped parameter must not be ignored."""
    route = request.scope["route"]
    allowed = {field.alias for field in route.dependant.query_params}
    unknown = sorted(set(request.query_params) - allowed)
    if unknown:
        complaints = [
            Complaint(
                pointer=f"/query/{name}", detail=unknown_name(name, allowed, "query parameter")
            )
            for name in unknown
        ]
        raise invalid(complaints)


def refuse_nul(request: Request) -> None:
    """No id, name or filter holds NUL, and databases do not take it."""
    values = [request.url.path, *request.path_params.values(), *request.query_params.values()]
    if any("\0" in str(value) for value in values):
        raise Malformed("the URL holds %00, which no id, name or filter may")
