"""Models: upload, list, read, download, delete."""

from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.content import CONTENT_RESPONSES, Content, content_response, filename_of
from app.api.deps import ServicesDep
from app.api.paging import Cursor, Limit, PageView, link_next
from app.api.receiving import UPLOAD_BODY, Name, incoming_file
from app.api.rendering import model_view
from app.api.scopes import Reader, Submits
from app.recipes.facts import DatasetOptions
from app.uploads.formats import UploadKind
from app.uploads.service import IncomingUpload
from app.uploads.views import ModelView

PATH = "/v1/models"

router = APIRouter(prefix=PATH, tags=["models"])


@router.post("", status_code=201, openapi_extra=UPLOAD_BODY)
async def upload_model(
    request: Request,
    response: Response,
    change: Submits,
    services: ServicesDep,
    name: Name = None,
) -> ModelView:
    """Upload a model: a .keras, .h5 or .tflite file, or a .zip of a SavedModel.

    It is the body, or `file` of a form.
    """
    room = await run_in_threadpool(services.uploads.room, change.tenant_id)
    incoming = await incoming_file(request, room)
    sent = IncomingUpload(change, UploadKind.MODEL, name, incoming.filename, DatasetOptions())
    upload = await services.uploads.receive(sent, incoming.batches)
    response.headers["Location"] = f"{PATH}/{upload.id}"
    return model_view(upload)


@router.get("")
def list_models(
    request: Request,
    response: Response,
    principal: Reader,
    services: ServicesDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageView[ModelView]:
    """List models, the newest first."""
    page = services.uploads.list(principal.tenant_id, UploadKind.MODEL, limit, cursor)
    link_next(request, response, page.next_cursor)
    return PageView(items=[model_view(one) for one in page.items], next_cursor=page.next_cursor)


@router.get("/{model_id}")
def get_model(model_id: str, principal: Reader, services: ServicesDep) -> ModelView:
    """Read what is known of a model."""
    return model_view(services.uploads.get(principal.tenant_id, model_id, UploadKind.MODEL))


@router.delete("/{model_id}", status_code=204)
def delete_model(model_id: str, change: Submits, services: ServicesDep) -> None:
    """Delete a model that no active job uses."""
    services.uploads.delete(change, model_id, UploadKind.MODEL)


@router.head("/{model_id}/content", response_class=Response, include_in_schema=False)
@router.get("/{model_id}/content", response_class=Response, responses=CONTENT_RESPONSES)
def get_model_content(
    model_id: str, request: Request, principal: Reader, services: ServicesDep
) -> Response:
    """Download a model as it was uploaded."""
    upload = services.uploads.get(principal.tenant_id, model_id, UploadKind.MODEL)
    path = services.uploads.content(upload)
    content = Content(path, upload.sha256, filename_of(upload))
    guard = partial(services.watcher.while_key_is_good, principal)
    return content_response(request, content, guard)
