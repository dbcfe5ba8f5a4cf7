"""What changed nothing is written down here: refusals of who asks, and changes that failed.

What tells of a change that was made is written in its own transaction
(`app.accounts.audited_changes`).
"""

import logging

from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accounts.audit import Entry
from app.accounts.principal import Principal
from app.api.addresses import address_of
from app.api.deps import Services
from app.api.origins import SAFE_METHODS
from app.api.request_id import request_id_of
from app.ids import ID

log = logging.getLogger(__name__)

REFUSED = frozenset({401, 403})
# Changes nothing, though it takes a body.
HARMLESS = frozenset({"validate_job"})


class Auditing:
    """ASGI middleware, outside of everything that answers but the last resort.

    A new route is covered without being named here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._write(scope, message["status"])
            await send(message)

        try:
            await self.app(scope, receive, send_audited)
        except Exception:
            await self._write(scope, 500)
            raise

    async def _write(self, scope: Scope, status: int) -> None:
        name = route_name(scope)
        is_change = scope["method"] not in SAFE_METHODS and name not in {None, *HARMLESS}
        has_failed = is_change and status >= 500
        if not has_failed and status not in REFUSED:
            return
        entry = entry_of(scope, status, name)
        services: Services = scope["app"].state.services
        try:
            await run_in_threadpool(services.audit.add, entry)
        except Exception:
            # It is answered all the same; the process's log holds what the table does not.
            log.exception("audit.not_written", extra=vars(entry))


def route_name(scope: Scope) -> str | None:
    route = scope.get("route")
    return getattr(route, "name", None)


def entry_of(scope: Scope, status: int, name: str | None) -> Entry:
    state = scope.get("state", {})
    # Whose key is used that is none any more, is told of it.
    principal: Principal | None = state.get("principal") or state.get("spent_by")
    services: Services = scope["app"].state.services
    return Entry(
        action=action_of(name),
        status=status,
        tenant_id=principal.tenant_id if principal else None,
        key_id=principal.key_id if principal else None,
        object_id=object_id_of(scope),
        address=address_of(scope, services.settings.trusted_proxies),
        request_id=request_id_of(scope),
    )


def action_of(name: str | None) -> str:
    """`cancel_job` is "job.cancel"; what came to no route is "request.refuse"."""
    if name is None:
        return "request.refuse"
    verb, _, noun = name.partition("_")
    return f"{noun}.{verb}"


def object_id_of(scope: Scope) -> str | None:
    """The id in the path; never other text of the caller's."""
    named = (str(value) for value in scope.get("path_params", {}).values())
    return next((text for text in named if ID.fullmatch(text)), None)
