"""Errors as RFC 9457 problem details. The only place where an error becomes an HTTP status."""

import json
import logging
from collections.abc import Mapping
from math import ceil

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from starlette.exceptions import HTTPException

from app import errors
from app.accounts.errors import Limited, QuotaStorage
from app.accounts.keys import Unauthenticated
from app.api.complaints import complaints_of
from app.api.content import NoSuchRange
from app.api.receiving import BodyStalled
from app.api.request_id import HEADER, request_id_of
from app.api.scopes import ScopeMissing
from app.api.security_headers import add_security_headers
from app.database.failures import known_failure
from app.errors import PenjingError, Problem, ProblemView
from app.logs import without_keys

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

# By family; a child has the status of its nearest listed ancestor.
STATUSES: dict[type[PenjingError], int] = {
    errors.Malformed: 400,
    Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    BodyStalled: 408,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedFormat: 415,
    errors.RangeNotSatisfiable: 416,
    errors.Invalid: 422,
    Limited: 429,
    errors.JobError: 500,
    errors.PenjingError: 500,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    QuotaStorage: 507,
}

# What the router itself refuses: (code, title) by status.
ROUTER_REFUSALS: dict[int, tuple[str, str]] = {
    400: (errors.Malformed.code, errors.Malformed.title),
    404: ("no_such_path", "There is nothing at this path"),
    405: ("method_not_allowed", "This path does not know this method"),
    408: (BodyStalled.code, BodyStalled.title),
    413: (errors.TooLarge.code, errors.TooLarge.title),
}


def status_of(kind: type[PenjingError]) -> int:
    return next(STATUSES[family] for family in kind.__mro__ if family in STATUSES)


def stored_view(problem: Problem, instance: str) -> ProblemView:
    """A problem that was kept with a job or an upload, as it is shown with it."""
    return _view(problem, _status_of_code(problem.code), instance, None)


def install(app: FastAPI) -> None:
    """Answer every error of this application with problem details."""
    app.add_exception_handler(PenjingError, _named)
    app.add_exception_handler(OperationalError, _database_failed)
    app.add_exception_handler(InterfaceError, _database_failed)
    app.add_exception_handler(NoFreeConnection, _database_failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused_by_router)
    app.add_exception_handler(Exception, _unforeseen)


async def _named(request: Request, error: Exception) -> Response:
    if not isinstance(error, PenjingError):
        raise error
    return problem_answer(request, error)


def problem_answer(request: Request, error: PenjingError) -> Response:
    return _answer(request, error.as_problem(), status_of(type(error)), _headers_of(error))


async def _database_failed(request: Request, error: Exception) -> Response:
    if not isinstance(error, SQLAlchemyError):
        raise error
    log.error("database.failed", exc_info=error, extra=_request_facts(request))
    return await _named(request, known_failure(error))


async def answer_to(request: Request, error: PenjingError | SQLAlchemyError) -> Response:
    """For what fails before a route has the request."""
    if isinstance(error, PenjingError):
        return await _named(request, error)
    return await _database_failed(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return await _named(request, complaints_of(error, request))


async def _refused_by_router(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code, title = ROUTER_REFUSALS.get(error.status_code, (f"http_{error.status_code}", "Refused"))
    problem = Problem(
        code=code,
        title=title,
        detail=f"{request.method} {request.url.path}: {error.detail}",
        stage=None,
        errors=(),
        retryable=False,
        hint="GET /openapi.json lists every path and method.",
    )
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # The router names the methods of the first route with this path only.
        headers["Allow"] = ", ".join(sorted(request.app.state.methods_at(request.url.path)))
    return _answer(request, problem, error.status_code, headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    # The server logs the traceback, too, but not what was asked for.
    log.error("request.failed", exc_info=error, extra=_request_facts(request))
    known = PenjingError(
        "an unexpected error; it was logged under this request_id",
        hint="Tell the operator of this service the request_id.",
    )
    answer = _answer(request, known.as_problem(), 500, {})
    # This one is made outside of every middleware.
    add_security_headers(answer.headers, request.scope)
    return answer


def _request_facts(request: Request) -> Mapping[str, str]:
    return {
        "request_id": request_id_of(request.scope),
        "method": request.method,
        "path": request.url.path,
    }


def _answer(
    request: Request, problem: Problem, status: int, headers: Mapping[str, str]
) -> Response:
    request_id = request_id_of(request.scope)
    view = _view(problem, status, request.url.path, request_id)
    # ASCII only: a detail may quote what cannot be encoded (lone surrogates).
    body = without_keys(json.dumps(view.model_dump(), allow_nan=False)).encode("ascii")
    sent = {**headers, HEADER: request_id, "Cache-Control": "no-store"}
    return Response(body, status, sent, media_type=MEDIA_TYPE)


def _headers_of(error: PenjingError) -> Mapping[str, str]:
    if isinstance(error, Limited):
        return {"Retry-After": str(max(1, ceil(error.retry_after_s)))}
    if error.retryable:
        return {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, BodyStalled):
        return {"Connection": "close"}
    if isinstance(error, ScopeMissing):
        return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{error.needed}"'}
    if isinstance(error, NoSuchRange):
        return {"Content-Range": f"bytes */{error.size_bytes}"}
    return {}


def _view(problem: Problem, status: int, instance: str, request_id: str | None) -> ProblemView:
    return ProblemView(
        type=f"urn:penjing:problem:{problem.code}",
        status=status,
        instance=instance,
        request_id=request_id,
        **dict(problem),
    )


def _status_of_code(code: str) -> int:
    return next((status_of(kind) for kind in _kinds(PenjingError) if kind.code == code), 500)


def _kinds(root: type[PenjingError]) -> list[type[PenjingError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _kinds(child))]
