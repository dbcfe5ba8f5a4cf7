"""Stand-ins for what a test cannot wait for: the broker, the clock, and who asks for a change."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.accounts.audited_changes import AuditedChange
from app.accounts.principal import DEFAULT_TENANT, Principal


@dataclass
class FakeQueue:
    """A `Queue` that keeps what it is given; `is_down` makes it fail as a lost broker does."""

    sent: list[str] = field(default_factory=list)
    is_down: bool = False

    def send(self, job_id: str) -> None:
        if self.is_down:
            raise ConnectionError("the broker is down")
        self.sent.append(job_id)


@dataclass
class FakeClock:
    """A clock that stands still until it is moved."""

    now: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class SteadyClock:
    """The machine's clock, except that it neither stands still nor goes back."""

    now_ns: Callable[[], int] = time.time_ns
    last_ns: int = 0

    def __call__(self) -> int:
        self.last_ns = max(self.last_ns + 1, self.now_ns())
        return self.last_ns


# No route's: what a test starts from is told from what it tries by it.
STARTING = "test.start"


def a_change(tenant_id: str = DEFAULT_TENANT, key_id: str | None = None) -> AuditedChange:
    """A change by somebody who needs no key, or by this one."""
    return AuditedChange(tenant_id, STARTING, 200, key_id)


def by(principal: Principal) -> AuditedChange:
    return a_change(principal.tenant_id, principal.key_id)
