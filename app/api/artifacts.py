"""The files that jobs made."""

from functools import partial

from fastapi import APIRouter, Request, Response

from app.api.content import CONTENT_RESPONSES, Content, content_response
from app.api.deps import ServicesDep
from app.api.scopes import Reader

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])


@router.head("/{artifact_id}/content", response_class=Response, include_in_schema=False)
@router.get("/{artifact_id}/content", response_class=Response, responses=CONTENT_RESPONSES)
def get_artifact_content(
    artifact_id: str, request: Request, principal: Reader, services: ServicesDep
) -> Response:
    """Download a file, whole or from where a download broke off."""
    artifact = services.jobs.artifact(principal.tenant_id, artifact_id)
    content = Content(services.blobs.path(artifact.sha256), artifact.sha256, artifact.filename)
    guard = partial(services.watcher.while_key_is_good, principal)
    return content_response(request, content, guard)
