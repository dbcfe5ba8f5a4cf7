"""Data sets: upload, list, read, download, delete."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.content import CONTENT_RESPONSES, Content, content_response, filename_of
from app.api.deps import ServicesDep
from app.api.paging import Cursor, Limit, PageView, link_next
from app.api.receiving import UPLOAD_BODY, Name, incoming_file
from app.api.rendering import dataset_view
from app.api.scopes import Reader, Submits
from app.recipes.facts import DatasetOptions
from app.uploads.formats import UploadKind
from app.uploads.service import IncomingUpload
from app.uploads.views import DatasetView

PATH = "/v1/datasets"

router = APIRouter(prefix=PATH, tags=["datasets"])


class DatasetQuery(DatasetOptions):
    """How the file is called and how it is to be read."""

    name: Name = None


@router.post("", status_code=201, openapi_extra=UPLOAD_BODY)
async def upload_dataset(
    request: Request,
    response: Response,
    change: Submits,
    services: ServicesDep,
    query: Annotated[DatasetQuery, Query()],
) -> DatasetView:
    """Upload a data set: .npz, .csv, .parquet, or a .zip with a folder of pictures a class.

    The file is the body, or `file` of a form.
    """
    room = await run_in_threadpool(services.uploads.room, change.tenant_id)
    incoming = await incoming_file(request, room)
    options = DatasetOptions.model_validate(query.model_dump(exclude={"name"}))
    sent = IncomingUpload(change, UploadKind.DATASET, query.name, incoming.filename, options)
    upload = await services.uploads.receive(sent, incoming.batches)
    response.headers["Location"] = f"{PATH}/{upload.id}"
    return dataset_view(upload)


@router.get("")
def list_datasets(
    request: Request,
    response: Response,
    principal: Reader,
    services: ServicesDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageView[DatasetView]:
    """List data sets, the newest first."""
    page = services.uploads.list(principal.tenant_id, UploadKind.DATASET, limit, cursor)
    link_next(request, response, page.next_cursor)
    return PageView(items=[dataset_view(one) for one in page.items], next_cursor=page.next_cursor)


@router.get("/{dataset_id}")
def get_dataset(dataset_id: str, principal: Reader, services: ServicesDep) -> DatasetView:
    """Read what is known of a data set."""
    return dataset_view(services.uploads.get(principal.tenant_id, dataset_id, UploadKind.DATASET))


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, change: Submits, services: ServicesDep) -> None:
    """Delete a data set that no active job uses."""
    services.uploads.delete(change, dataset_id, UploadKind.DATASET)


@router.head("/{dataset_id}/content", response_class=Response, include_in_schema=False)
@router.get("/{dataset_id}/content", response_class=Response, responses=CONTENT_RESPONSES)
def get_dataset_content(
    dataset_id: str, request: Request, principal: Reader, services: ServicesDep
) -> Response:
    """Download a data set as it was uploaded."""
    upload = services.uploads.get(principal.tenant_id, dataset_id, UploadKind.DATASET)
    path = services.uploads.content(upload)
    content = Content(path, upload.sha256, filename_of(upload))
    guard = partial(services.watcher.while_key_is_good, principal)
    return content_response(request, content, guard)
