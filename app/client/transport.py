"""Requests to one service: what may be repeated is repeated, refusals become exceptions."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from app.client.credentials import bearer_key, is_loopback
from app.client.problems import ApiProblem, ServiceUnreachable, problem_of
from app.errors import Malformed, RequestInFlight

# Together longer than a restart of the API takes.
RETRY_PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)

Params = Mapping[str, str | int | float | None]


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
        content: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A POST that must not be sent twice.

        Raises: ApiProblem, ServiceUnreachable.
        """
        # The answer to an upload includes its inspection.
        timeout = httpx.Timeout(self.timeout_s, read=max(self.timeout_s, 120.0))
        request = self._http.build_request(
            "POST", path, params=_given(params), content=content, headers=headers, timeout=timeout
        )
        try:
            return _accepted(self._http.send(request))
        except httpx.TransportError as error:
            raise self.unreachable(error) from error

    def delete_once(self, path: str) -> None:
        """A DELETE; sent again it would find nothing.

        Raises: ApiProblem, ServiceUnreachable.
        """
        try:
            _accepted(self._http.send(self._http.build_request("DELETE", path)))
        except httpx.TransportError as error:
            raise self.unreachable(error) from error

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

    def _repeated(self, request: httpx.Request, also_accepted: int | None = None) -> httpx.Response:
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
        raise ApiProblem(problem_of(response))
    return response


def _given(params: Params | None) -> dict[str, str | int | float]:
    return {name: value for name, value in (params or {}).items() if value is not None}
