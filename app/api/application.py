"""The application: its routes, its guards, its errors. What it works with comes from `app.main`."""

from collections.abc import Iterator
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.types import Lifespan

from app.api import (
    accounts,
    artifacts,
    audit_log,
    dashboard,
    datasets,
    events,
    health,
    jobs,
    models,
    problems,
    reference,
    techniques,
    usage,
)
from app.api.auditing import Auditing
from app.api.authentication import Authentication
from app.api.body_limit import BodyLimit
from app.api.guards import refuse_nul_in_url, refuse_other_pages, refuse_unknown_query
from app.api.head import HeadAsGet
from app.api.rate_limits import RateLimits
from app.api.request_id import RequestId
from app.api.security_headers import SecurityHeaders
from app.errors import ProblemView

DESCRIPTION = """\
Makes deep-learning models smaller and faster and proves what it cost:
*a job applies a recipe to a model and reports what changed.*

Every error is an `application/problem+json` (RFC 9457) with a stable `code`."""

ROUTERS = (
    models.router,
    datasets.router,
    techniques.router,
    jobs.router,
    events.router,
    artifacts.router,
    accounts.router,
    usage.router,
    audit_log.router,
    health.router,
    dashboard.router,
    reference.router,
)
STREAMED_PATHS = frozenset({models.PATH, datasets.PATH})
ANY_PROBLEM = {
    "description": "A problem, as `application/problem+json`.",
    "content": {
        problems.MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemView.__name__}"}}
    },
}


def make_application(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The API without what it works with: `state.services` is set before the first request."""
    application = FastAPI(
        title="Penjing",
        version=version("penjing"),
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[
            Depends(refuse_other_pages),
            Depends(refuse_nul_in_url),
            Depends(refuse_unknown_query),
        ],
        responses={"default": ANY_PROBLEM},
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        application.include_router(router)
    application.add_middleware(HeadAsGet, is_asked_by_get=is_head_asked_by_get)
    application.add_middleware(BodyLimit, streamed=STREAMED_PATHS)
    application.add_middleware(RateLimits, uploads=STREAMED_PATHS)
    application.add_middleware(Authentication)
    application.add_middleware(Auditing)
    application.add_middleware(RequestId)
    application.add_middleware(SecurityHeaders)
    problems.install(application)
    application.state.methods_at = methods_at
    return application


def methods_at(path: str) -> set[str]:
    """What may be done at a path."""
    methods = {method for route in routes_at(path) for method in route.methods or ()}
    return methods | {"HEAD"} if is_head_asked_by_get(path) else methods


def is_head_asked_by_get(path: str) -> bool:
    """Whether what is there answers GET, has no HEAD of its own, and comes to an end."""
    routes = list(routes_at(path))
    methods = {method for route in routes for method in route.methods or ()}
    is_endless = any(route.endpoint is events.read_events for route in routes)
    return "GET" in methods and "HEAD" not in methods and not is_endless


def routes_at(path: str) -> Iterator[APIRoute]:
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute) and route.path_regex.match(path):
            yield route
