"""Accounts: who asks, and the keys of their tenant."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.accounts.key_request import KeyRequest
from app.accounts.keys import MARK, ApiKey
from app.accounts.principal import Scope
from app.accounts.views import KeyView, MeView, NewKeyView, TenantView
from app.api.deps import Services, ServicesDep
from app.api.guards import refuse_nul_in_body
from app.api.json_body import JsonRoute, Told
from app.api.paging import Cursor, Limit, PageView, link_next
from app.api.scopes import Admin, Administers, Reader

PATH = "/v1/api-keys"

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=JsonRoute)


@router.get("/me")
def get_me(principal: Reader, services: ServicesDep) -> MeView:
    """Say who asks, and what they may do."""
    accounts = services.accounts
    tenant = accounts.tenant(principal.tenant_id)
    key = principal.key_id and accounts.get(principal.tenant_id, principal.key_id)
    return MeView(
        tenant=TenantView(id=tenant.id, name=tenant.name),
        key=key_view(services, key) if key else None,
        scopes=[scope for scope in Scope if principal.may(scope)],
    )


@router.post("/api-keys", status_code=201)
def create_api_key(
    change: Administers,
    body: Annotated[KeyRequest, Told],
    services: ServicesDep,
    response: Response,
) -> NewKeyView:
    """Make a key of the tenant; its text is in this answer and nowhere else.

    It ends with the key that makes it, at the latest: when that expires or is revoked.
    """
    refuse_nul_in_body(body.model_dump(mode="json"))
    key, text = services.accounts.issue_bounded(change, body.as_wish())
    response.headers.update({"Location": f"{PATH}/{key.id}", "Cache-Control": "no-store"})
    return NewKeyView(**dict(key_view(services, key)), key=text)


@router.get("/api-keys")
def list_api_keys(
    request: Request,
    response: Response,
    principal: Admin,
    services: ServicesDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageView[KeyView]:
    """List the keys of the tenant, the newest first; expired and revoked ones, too."""
    page = services.accounts.page(principal.tenant_id, limit, cursor)
    link_next(request, response, page.next_cursor)
    items = [key_view(services, key) for key in page.items]
    return PageView(items=items, next_cursor=page.next_cursor)


@router.get("/api-keys/{key_id}")
def get_api_key(key_id: str, principal: Admin, services: ServicesDep) -> KeyView:
    """Read what is known of a key; its text is not."""
    return key_view(services, services.accounts.get(principal.tenant_id, key_id))


@router.delete("/api-keys/{key_id}", status_code=204)
def revoke_api_key(key_id: str, change: Administers, services: ServicesDep) -> None:
    """Revoke a key and what it made, at once and for good; it can still be read.

    The key that the request comes with stays, and what that made.
    """
    services.accounts.revoke(change, key_id)


def key_view(services: Services, key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        prefix=f"{MARK}{key.prefix}",
        scopes=[scope for scope in Scope if scope in key.scopes],
        state=key.state(services.clock()),
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        made_by=key.made_by,
    )
