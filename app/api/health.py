"""Whether this process lives, and whether the service as a whole can take a job."""

import asyncio
import platform
from importlib.metadata import version
from typing import Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.api.deps import Check, ServicesDep
from app.errors import PenjingError

router = APIRouter(tags=["health"])

CHECK_LIMIT_S = 3.0


class AliveView(BaseModel):
    status: Literal["ok"]


class CheckView(BaseModel):
    """One thing the service depends on."""

    status: Literal["ok", "failing"]
    detail: str


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
    """Check the database, the broker, the blob store and that a worker lives."""
    outcomes = await asyncio.gather(*(_outcome(check) for check in services.checks.values()))
    checks = dict(zip(services.checks, outcomes, strict=True))
    are_ok = all(check.status == "ok" for check in outcomes)
    response.status_code = 200 if are_ok else 503
    response.headers["Cache-Control"] = "no-store"
    return ReadyView(status="ready" if are_ok else "not_ready", checks=checks)


@router.get("/v1/version")
async def get_version() -> VersionView:
    """Say which version of Penjing this is."""
    return VersionView(
        name="penjing", version=version("penjing"), api="v1", python=platform.python_version()
    )


async def _outcome(check: Check) -> CheckView:
    try:
        with anyio.fail_after(CHECK_LIMIT_S):
            detail = await anyio.to_thread.run_sync(check, abandon_on_cancel=True)
    except TimeoutError:
        return CheckView(status="failing", detail=f"no answer within {CHECK_LIMIT_S:g} s")
    except PenjingError as error:
        return CheckView(status="failing", detail=error.detail)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was asked for
        # Only its kind: drivers put addresses, paths and users into their messages.
        return CheckView(status="failing", detail=type(error).__name__)
    return CheckView(status="ok", detail=detail)
