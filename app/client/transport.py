"""Requests to one service: what may be repeated is repeated, refusals become exceptions."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from app.accounts.errors import TooManyStreams
from app.client.credentials import bearer_key, is_loopback
from app.client.problems import ApiProblem, ServiceUnreachable, problem_of
from app.errors import Malformed, RequestInFlight

# Together longer than a restart of the API takes.
RETRY_PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)
TOO_MANY, UNAVAILABLE = 429, 503
BUSY = frozenset({TOO_MANY, UNAVAILABLE})
# A busy service is asked again when it says, so often, and if that is soon.
MOST_RETURNS = 5
LONGEST_RETRY_AFTER_S = 60

Params = Mapping[str, str | int | float | None]
Answer = TypeVar("Answer")


class Transport:
    """One connection pool to one service."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        api_key: str | None,
        inner: httpx.BaseTransport | None,
        sleep: Callable[[float], None],
    ) -> None:
        self.url = checked_url(url)
        self.timeout_s = timeout_s
        self.sleep = sleep
        # A proxy from the environment must not get between this machine and itself.
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout_s,
            auth=bearer_key(api_key, self.url),
            trust_env=not is_loopback(self.url.host),
            transport=inner,
        )

    def close(self) -> None:
        self._http.close()

    def get(
        self,
        path: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout_s: float | None = None,
        also_accepted: int | None = None,
    ) -> httpx.Response:
        """A GET, repeated while nothing answers.

        Raises: ApiProblem, ServiceUnreachable.
        """
        timeout = httpx.Timeout(self.timeout_s, read=read_timeout_s or self.timeout_s)
        request = self._http.build_request(
            "GET", path, params=_given(params), headers=headers, timeout=timeout
        )
        return self._repeated(request, also_accepted)

    def post(
        self, path: str, body: Any | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A POST that the service knows to be the same when it comes twice.

        Raises: ApiProblem, ServiceUnreachable.
        """
        return self._repeated(self._http.build_request("POST", path, json=body, headers=headers))

    def post_once(
        self,
        path: str,
        params: Params | None = None,
        content: Callable[[], Iterable[bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A POST that must not be done twice; sent again where it was refused for now.

        `content` makes the body, from its beginning each time.
        Raises: ApiProblem, ServiceUnreachable.
        """
        # The answer to an upload includes its inspection.
        timeout = httpx.Timeout(self.timeout_s, read=max(self.timeout_s, 120.0))

        def send() -> httpx.Response:
            body = content() if content else None
            return self._sent(
                self._http.build_request(
                    "POST",
                    path,
                    params=_given(params),
                    content=body,
                    headers=headers,
                    timeout=timeout,
                )
            )

        # An upload that came twice is there twice, and no more than that.
        return self.let_in(send, BUSY if content else frozenset({TOO_MANY}))

    def delete_once(self, path: str) -> None:
        """A DELETE; done again it would find nothing.

        Raises: ApiProblem, ServiceUnreachable.
        """
        request = self._http.build_request("DELETE", path)
        self.let_in(lambda: self._sent(request), frozenset({TOO_MANY}))

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], read_timeout_s: float
    ) -> Iterator[httpx.Response]:
        """An answer that is read as it comes; errors of the connection are the caller's.

        Raises: ApiProblem, httpx.TransportError.
        """
        timeout = httpx.Timeout(self.timeout_s, read=read_timeout_s)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.is_error:
                response.read()
            yield _accepted(response)

    def unreachable(self, error: httpx.TransportError) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"no answer from {self.url}: {str(error) or type(error).__name__}",
            hint="Is the address right, and does the service run? `penjing up` starts one.",
        )

    def let_in(self, send: Callable[[], Answer], statuses: Collection[int] = BUSY) -> Answer:
        """What `send` returns; called again when the service says, if it is busy.

        Not where it has no place for one more that waits: that asks without waiting.
        Raises: what `send` raises, ApiProblem.
        """
        for _ in range(MOST_RETURNS):
            try:
                return send()
            except ApiProblem as refusal:
                if refusal.retry_after_s is None or refusal.problem.status not in statuses:
                    raise
                if refusal.problem.code == TooManyStreams.code:
                    raise
                self.sleep(refusal.retry_after_s)
        return send()

    def _repeated(self, request: httpx.Request, also_accepted: int | None = None) -> httpx.Response:
        return self.let_in(lambda: self._delivered(request, also_accepted))

    def _delivered(self, request: httpx.Request, also_accepted: int | None) -> httpx.Response:
        for pause_s in RETRY_PAUSES_S:
            try:
                return _accepted(self._http.send(request), also_accepted)
            except httpx.TransportError:
                self.sleep(pause_s)
            except ApiProblem as refusal:
                # The first delivery of this very request is still being handled.
                if refusal.problem.code != RequestInFlight.code:
                    raise
                self.sleep(pause_s)
        return self._sent(request, also_accepted)

    def _sent(self, request: httpx.Request, also_accepted: int | None = None) -> httpx.Response:
        try:
            return _accepted(self._http.send(request), also_accepted)
        except httpx.TransportError as error:
            raise self.unreachable(error) from error


def checked_url(url: str) -> httpx.URL:
    """Raises: Malformed unless it is an http(s) address."""
    try:
        parsed = httpx.URL(url.rstrip("/"))
    except (httpx.InvalidURL, ValueError) as error:
        raise Malformed(f"{url!r} is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Malformed(
            f"{url!r} is not the address of a service",
            hint="Write it like http://127.0.0.1:8000.",
        )
    return parsed


def _accepted(response: httpx.Response, also_accepted: int | None = None) -> httpx.Response:
    if response.is_error and response.status_code != also_accepted:
        raise ApiProblem(problem_of(response), _retry_after_s(response))
    return response


def _retry_after_s(response: httpx.Response) -> float | None:
    """Null for what is a date, or too long to wait for."""
    given = response.headers.get("Retry-After", "").strip()
    if response.status_code not in BUSY or not re.fullmatch("[0-9]{1,9}", given):
        return None
    return float(given) if int(given) <= LONGEST_RETRY_AFTER_S else None


def _given(params: Params | None) -> dict[str, str | int | float]:
    return {name: value for name, value in (params or {}).items() if value is not None}
