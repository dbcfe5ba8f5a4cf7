"""What of each tenant is on its way in and in no row yet.

Counted in this process: of several API processes each lets in as much.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.accounts.errors import Limited

MOST_AT_A_TIME = 32
RETRY_AFTER_S = 10.0


class TooManyUploads(Limited):
    code = "too_many_uploads"
    title = "More uploads than are allowed at a time"


class UnderWay:
    """The uploads of each tenant that have begun, and the bytes of them that have come."""

    def __init__(self, most_at_a_time: int = MOST_AT_A_TIME) -> None:
        self._most_at_a_time = most_at_a_time
        self._uploads: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def bytes_of(self, tenant_id: str) -> int:
        return self._bytes[tenant_id]

    @contextmanager
    def one(self, tenant_id: str) -> Iterator["Arriving"]:
        """An upload, from its first byte until it is a row or gone. Raises: TooManyUploads."""
        if self._uploads[tenant_id] >= self._most_at_a_time:
            raise TooManyUploads(
                f"{self._uploads[tenant_id]} uploads of this tenant are under way; no more may be",
                RETRY_AFTER_S,
                hint="Send the next file when one of those has come.",
            )
        arriving = Arriving(tenant_id, self._bytes)
        self._uploads[tenant_id] += 1
        try:
            yield arriving
        finally:
            _subtract(self._uploads, tenant_id, 1)
            _subtract(self._bytes, tenant_id, arriving.received)


class Arriving:
    """One upload that has begun."""

    def __init__(self, tenant_id: str, of_tenants: Counter[str]) -> None:
        self._tenant_id = tenant_id
        self._of_tenants = of_tenants
        self.received = 0

    @property
    def beside_bytes(self) -> int:
        """What has come of the tenant's other uploads."""
        return self._of_tenants[self._tenant_id] - self.received

    def add(self, size_bytes: int) -> None:
        self.received += size_bytes
        self._of_tenants[self._tenant_id] += size_bytes


def _subtract(counts: Counter[str], tenant_id: str, count: int) -> None:
    counts[tenant_id] -= count
    if not counts[tenant_id]:
        del counts[tenant_id]
