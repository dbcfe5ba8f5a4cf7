"""What a caller is told who has had its share. Nothing is broken."""

from app.errors import PenjingError


class Limited(PenjingError):
    """`retry_after_s`: when there may be room again."""

    code = "limited"
    title = "More than is allowed at a time"
    retryable = True

    def __init__(self, detail: str, retry_after_s: float, *, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after_s = retry_after_s


class TooManyRequests(Limited):
    code = "too_many_requests"
    title = "More requests than are allowed a minute"


class TooManyStreams(Limited):
    code = "too_many_streams"
    title = "More event streams and waits than are allowed at a time"


class QuotaStorage(PenjingError):
    code = "quota_storage"
    title = "The tenant's storage is full"
