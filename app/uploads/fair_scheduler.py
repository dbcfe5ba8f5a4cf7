"""Hands out inspections by turns: whoever sends many slow files waits for them, nobody else."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.accounts.errors import Limited

RETRY_AFTER_S = 10.0


class TooManyInspections(Limited):
    code = "too_many_inspections"
    title = "More uploads wait to be inspected than one tenant may have"


class FairScheduler:
    """Of those who wait, the tenant comes next that has the fewest running, then the longest idle.

    Args:
        at_a_time: inspections that run at once, of all tenants together.
        most_waiting: uploads of one tenant; one more is refused.
    """

    def __init__(self, at_a_time: int, most_waiting: int) -> None:
        self._free = at_a_time
        self._most_waiting = most_waiting
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._turns_given = 0
        # Of those who wait or run: the number of the turn that they were given last.
        self._last: dict[str, int] = {}

    def require_place(self, tenant_id: str) -> None:
        """Raises: TooManyInspections."""
        waiting = len(self._waiting.get(tenant_id, ()))
        if waiting >= self._most_waiting:
            raise TooManyInspections(
                f"{waiting} uploads of this tenant wait to be inspected; no more may",
                RETRY_AFTER_S,
                hint="Send the next file when one of those has been inspected.",
            )

    @asynccontextmanager
    async def of(self, tenant_id: str, *, is_new: bool = True) -> AsyncIterator[None]:
        """One turn. What is not new was let in before, and waits however many there are.

        Raises: TooManyInspections.
        """
        if is_new:
            self.require_place(tenant_id)
        await self._begin(tenant_id)
        try:
            yield
        finally:
            self._end(tenant_id)

    async def _begin(self, tenant_id: str) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, deque()).append(place)
        self._hand_out()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._leave(tenant_id, place)
            else:
                # It was this one's turn already.
                self._end(tenant_id)
            raise

    def _end(self, tenant_id: str) -> None:
        self._free += 1
        self._running[tenant_id] -= 1
        if not self._running[tenant_id]:
            del self._running[tenant_id]
        self._hand_out()
        self._forget(tenant_id)

    def _forget(self, tenant_id: str) -> None:
        if tenant_id not in self._running and tenant_id not in self._waiting:
            self._last.pop(tenant_id, None)

    def _leave(self, tenant_id: str, place: asyncio.Future[None]) -> None:
        places = self._waiting.get(tenant_id, deque())
        if place in places:
            places.remove(place)
        if not places:
            self._waiting.pop(tenant_id, None)
            self._forget(tenant_id)

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            tenant_id = min(self._waiting, key=self._had)
            places = self._waiting[tenant_id]
            place = places.popleft()
            if not places:
                del self._waiting[tenant_id]
            if not place.done():
                self._free -= 1
                self._running[tenant_id] += 1
                self._turns_given += 1
                self._last[tenant_id] = self._turns_given
                place.set_result(None)

    def _had(self, tenant_id: str) -> tuple[int, int]:
        return self._running[tenant_id], self._last.get(tenant_id, 0)
