"""A page of another site, in a browser on this machine, gets and changes nothing here."""

import httpx
import pytest
from starlette.datastructures import Headers

from app.api.origins import HostNotAllowed, refuse_other_names
from app.settings import Settings
from tests.app.api.conftest import Api
from tests.app.api.given import a_model

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://[bad"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/models"), ("DELETE", "/v1/models/{id}")]
)
async def test_nothing_is_changed_when_another_sites_page_asks(
    api: Api, headers: dict[str, str], method: str, path: str
) -> None:
    model_id = a_model(api)
    answer = await api.http.request(method, path.format(id=model_id), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
    assert "curl" in answer.json()["hint"]
    assert (await api.get(f"/v1/models/{model_id}")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "http://localhost"), ("Origin", "https://evil.example")],
        [("Origin", "http://localhost"), ("Origin", "http://localhost")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    ],
)
async def test_nothing_is_changed_when_a_header_of_browsers_comes_twice(
    api: Api, headers: list[tuple[str, str]]
) -> None:
    answer = await api.http.delete(f"/v1/models/{a_model(api)}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")


async def test_two_names_of_this_service_are_refused() -> None:
    doubled = Headers(raw=[(b"host", b"localhost"), (b"host", b"127.0.0.1")])
    with pytest.raises(HostNotAllowed):
        refuse_other_names(doubled, allowed=())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Host": "LOCALHOST:8000", "Origin": "https://localhost:8000"},
    ],
)
async def test_own_page_and_program_may_change_things(api: Api, headers: dict[str, str]) -> None:
    answer = await api.http.delete(f"/v1/models/{a_model(api)}", headers=headers)
    assert answer.status_code == 204


async def test_link_on_another_site_leads_here(api: Api) -> None:
    assert (await api.get("/docs", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200


async def test_no_other_origin_is_let_read(api: Api) -> None:
    answer = await api.get("/v1/jobs", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = await api.http.options("/v1/jobs", headers=asked)
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
async def test_name_of_a_stranger_is_refused(api: Api, host: str) -> None:
    answer = await api.get("/v1/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "host_not_allowed")
    assert "PENJING_ALLOWED_HOSTS" in answer.json()["hint"]


@pytest.mark.parametrize(
    "host", ["localhost", "Localhost.:8000", "app.localhost", "127.0.0.1:8000", "[::1]:8000"]
)
async def test_name_of_this_machine_is_good(api: Api, host: str) -> None:
    assert (await api.get("/v1/jobs", headers={"Host": host})).status_code == 200


def test_probe_without_a_name_is_no_browser() -> None:
    refuse_other_names(Headers({}), allowed=())


def test_allowed_names_are_read_by_commas() -> None:
    given = Settings.from_environment({"PENJING_ALLOWED_HOSTS": "Penjing.example, gpu-1 ,"})
    assert given.allowed_hosts == {"penjing.example", "gpu-1"}


class TestWithNamesOfItsOwn:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"allowed_hosts": frozenset({"penjing.example"})})

    async def test_allowed_name_is_good(self, api: Api) -> None:
        answer: httpx.Response = await api.get("/v1/jobs", headers={"Host": "penjing.example:80"})
        assert answer.status_code == 200
