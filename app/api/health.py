"""Whether this process lives, and whether the service as a whole can take a job."""

import platform
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.api.deps import ServicesDep
from app.api.readiness import CheckView

router = APIRouter(tags=["health"])


class AliveView(BaseModel):
    status: Literal["ok"]


class ReadyView(BaseModel):
    """`ready` when every check is ok."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, CheckView]


class VersionView(BaseModel):
    name: Literal["penjing"]
    version: str
    api: Literal["v1"]
    python: str


@router.get("/livez")
@router.get("/healthz", name="is_healthy")
async def is_alive() -> AliveView:
    """Say that the process answers; nothing else is looked at."""
    return AliveView(status="ok")


@router.get("/readyz", responses={503: {"model": ReadyView}})
async def is_ready(services: ServicesDep, response: Response) -> ReadyView:
    """Check database, broker, blob store, that a worker lives, and that uploads are confined."""
    checks = await services.readiness.outcomes()
    are_ok = all(check.status == "ok" for check in checks.values())
    response.status_code = 200 if are_ok else 503
    response.headers["Cache-Control"] = "no-store"
    return ReadyView(status="ready" if are_ok else "not_ready", checks=checks)


@router.get("/v1/version")
async def get_version() -> VersionView:
    """Say which version of Penjing this is."""
    return VersionView(
        name="penjing", version=version("penjing"), api="v1", python=platform.python_version()
    )
