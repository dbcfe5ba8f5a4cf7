"""What was done in a tenant's name, and who was refused."""

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.api.deps import ServicesDep
from app.api.paging import Cursor, Limit, PageView, link_next
from app.api.scopes import Admin

router = APIRouter(prefix="/v1", tags=["accounts"])


class AuditView(BaseModel):
    """One change or refusal."""

    id: str
    at: datetime
    key_id: str | None = Field(description="Null where no key was asked for.")
    action: str = Field(description="`noun.verb`.")
    object_id: str | None
    status: int = Field(
        description="What the request was answered with; below 400, written with the change itself."
    )
    address: str | None
    request_id: str | None


@router.get("/audit-log")
def read_audit_log(
    request: Request,
    response: Response,
    principal: Admin,
    services: ServicesDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageView[AuditView]:
    """Read who changed what in the tenant, and who was refused; the newest first."""
    page = services.audit.page(principal.tenant_id, limit, cursor)
    link_next(request, response, page.next_cursor)
    items = [AuditView(id=record.id, at=record.at, **vars(record.entry)) for record in page.items]
    return PageView(items=items, next_cursor=page.next_cursor)
