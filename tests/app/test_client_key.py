"""The client's key: where it comes from, whom it goes to, and that nobody sees it."""

import traceback
import warnings
from collections.abc import Callable

import click
import httpx
import pytest
from click.testing import CliRunner

from app.cli.connect import client_of
from app.cli.frame import API_KEY
from app.cli.main import penjing
from app.cli.output import Output
from app.client import Client
from app.client.credentials import KeyInTheClear, without_key
from app.errors import Malformed

KEY = f"pj_{'0' * 12}_{'a' * 64}"
URL = "http://127.0.0.1:8000"

Answer = Callable[[httpx.Request], httpx.Response]


def seen_by(url: str, api_key: str | None = KEY) -> list[httpx.Request]:
    """What a service gets of a client."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"name": "penjing"})

    with Client(url, api_key=api_key, transport=httpx.MockTransport(answer)) as client:
        client.version()
    return seen


def test_key_is_sent_with_every_request() -> None:
    [request] = seen_by(URL)
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_key_comes_from_the_environment_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENJING_API_KEY", "of-the-environment")
    assert seen_by(URL, None)[0].headers["authorization"] == "Bearer of-the-environment"
    assert seen_by(URL)[0].headers["authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("PENJING_API_KEY", "")
    assert "authorization" not in seen_by(URL, None)[0].headers


def test_key_goes_to_no_other_service_that_an_answer_points_at() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"")

    with Client(URL, api_key=KEY, transport=httpx.MockTransport(answer)) as client:
        for url in ("https://elsewhere.example/x", "http://127.0.0.1:8001/x", "/x"):
            with client._transport.stream(url, {}, 1.0):
                pass

    assert ["authorization" in request.headers for request in seen] == [False, False, True]


@pytest.mark.parametrize("wrong", ["a b", "k\u00e9y", "key\nX-Evil: 1", "k" * 600])
def test_key_that_cannot_be_sent_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(Malformed) as refused:
        Client(URL, api_key=wrong)
    told = "".join(traceback.format_exception(refused.value))
    assert wrong not in told


@pytest.mark.parametrize("url", [URL, "http://localhost:8000", "https://penjing.example"])
def test_nobody_is_warned_where_nobody_can_read_the_key(url: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen_by(url)


def test_who_sends_a_key_in_the_clear_is_warned() -> None:
    with pytest.warns(KeyInTheClear, match=r"gpu-box .* plain http") as told:
        seen_by("http://gpu-box:8000")
    assert KEY not in str(told[0].message)


def test_command_tells_a_person_where_a_key_goes_in_the_clear(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with click.Context(click.Command("any")) as context:
        context.meta[API_KEY] = KEY
        client_of("http://gpu-box:8000", Output(is_json=True)).close()

    told = capsys.readouterr()
    assert "gpu-box" in told.err
    assert KEY not in told.err + told.out


def test_command_does_not_repeat_a_key_that_cannot_be_sent() -> None:
    arguments = ["jobs", "list", "--url", URL, "--api-key", "x y", "--json"]
    result = CliRunner().invoke(penjing, arguments)
    assert result.exit_code == 2
    assert "x y" not in result.output


def test_key_is_not_in_the_help_of_a_command() -> None:
    result = CliRunner().invoke(penjing, ["jobs", "list", "--help"], env={"PENJING_API_KEY": KEY})
    assert "--api-key" in result.stdout
    assert KEY not in result.output


def test_key_is_shown_by_no_object_of_the_client() -> None:
    with Client(URL, api_key=KEY) as client:
        shown = repr(vars(client._transport)) + repr(vars(client._transport._http))
    assert KEY not in shown


def test_processes_that_a_command_starts_get_no_key() -> None:
    assert without_key({"PENJING_API_KEY": KEY, "PATH": "/bin"}) == {"PATH": "/bin"}
