"""Whether the service can take a job, found out once for everybody who asks at the same time."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel

from app.errors import PenjingError

CHECK_LIMIT_S = 3.0
KEPT_S = 1.0

# One thing the service depends on: says how it is, or raises.
Check = Callable[[], str]


class CheckView(BaseModel):
    """One thing the service depends on."""

    status: Literal["ok", "failing"]
    detail: str


class Readiness:
    """What the checks said, at most `KEPT_S` ago.

    Anybody may ask, as often as they like: one round of checks runs at a time, in threads of its
    own, and everybody who asks meanwhile or shortly after is told what it found.
    """

    def __init__(self, checks: Mapping[str, Check], clock: Callable[[], datetime]) -> None:
        self.checks = checks
        self._clock = clock
        self._threads = anyio.CapacityLimiter(max(1, len(checks)))
        self._round: asyncio.Task[dict[str, CheckView]] | None = None
        self._ended_at: datetime | None = None

    async def outcomes(self) -> dict[str, CheckView]:
        if self._round is None or (self._round.done() and not self._is_fresh()):
            self._round = asyncio.create_task(self._look())
        # Who asked first may go; the others still want to know.
        return await asyncio.shield(self._round)

    def _is_fresh(self) -> bool:
        if self._ended_at is None:
            return False
        # A clock may be set back.
        return abs((self._clock() - self._ended_at).total_seconds()) < KEPT_S

    async def _look(self) -> dict[str, CheckView]:
        outcomes = await asyncio.gather(*(self._outcome(one) for one in self.checks.values()))
        self._ended_at = self._clock()
        return dict(zip(self.checks, outcomes, strict=True))

    async def _outcome(self, check: Check) -> CheckView:
        try:
            with anyio.fail_after(CHECK_LIMIT_S):
                detail = await anyio.to_thread.run_sync(
                    check, abandon_on_cancel=True, limiter=self._threads
                )
        except TimeoutError:
            return CheckView(status="failing", detail=f"no answer within {CHECK_LIMIT_S:g} s")
        except PenjingError as error:
            return CheckView(status="failing", detail=error.detail)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was asked for
            # Only its kind: drivers put addresses, paths and users into their messages.
            return CheckView(status="failing", detail=type(error).__name__)
        return CheckView(status="ok", detail=detail)
