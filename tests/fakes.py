"""Stand-ins for what a test cannot wait for: the broker, the clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


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
