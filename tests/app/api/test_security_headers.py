"""What browsers are told, by every answer: pages, data, files, problems."""

import json

import httpx
import pytest

from app.api.openapi import document
from app.api.reference import PATH
from app.api.security_headers import ALWAYS
from tests.app.api.conftest import Api
from tests.app.api.given import a_job, a_model, succeeded
from tests.app.api.test_problems import raising

pytestmark = pytest.mark.anyio


# Each page with its style.
PAGES = [(PATH, f"{PATH}/reference.css"), ("/", "/dashboard.css")]


def policy(answer: httpx.Response) -> dict[str, str]:
    """Directive -> sources."""
    text = answer.headers["content-security-policy"]
    return dict(directive.strip().split(" ", 1) for directive in text.split(";"))


async def answers(api: Api) -> dict[str, httpx.Response]:
    job = await a_job(api)
    succeeded(api, job["id"])
    finished = (await api.get(f"/v1/jobs/{job['id']}")).json()
    paths = {
        "data": "/v1/jobs",
        "file": finished["artifacts"][0]["url"],
        "upload": f"/v1/models/{a_model(api)}/content",
        "openapi": "/openapi.json",
        "page": PATH,
        "style": f"{PATH}/reference.css",
        "dashboard": "/",
        "style of the dashboard": "/dashboard.css",
        "missing": "/nowhere",
        "refused": "/v1/jobs?unknown=1",
    }
    return {name: await api.get(path) for name, path in paths.items()}


async def test_every_answer_has_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await answers(api)
    found["wrong method"] = await api.http.delete("/v1/jobs")
    found["too large"] = await api.post("/v1/jobs", content=b" " * 2**21)
    monkeypatch.setattr(type(api.services.jobs), "get", raising(RuntimeError("unforeseen")))
    found["unforeseen"] = await api.get("/v1/jobs/job_1")
    assert found["unforeseen"].status_code == 500
    for name, answer in found.items():
        for header in ALWAYS:
            assert header in answer.headers, (name, header)
        assert answer.headers["x-content-type-options"] == "nosniff", name
        assert policy(answer)["default-src"] == "'none'", name
        assert policy(answer)["frame-ancestors"] == "'none'", name
        assert "strict-transport-security" not in answer.headers, name


async def test_what_is_private_is_kept_by_nobody_else(api: Api) -> None:
    found = await answers(api)
    for name in ("data", "dashboard"):
        assert found[name].headers["cache-control"] == "no-store"
    assert found["file"].headers["cache-control"].startswith("private,")
    assert found["upload"].headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(("path", "style"), PAGES)
async def test_page_may_load_nothing_but_what_the_service_serves(
    api: Api, path: str, style: str
) -> None:
    answer = await api.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src" not in policy(answer)  # so it is as `default-src` says
    for directive, sources in policy(answer).items():
        assert set(sources.split()) <= {"'none'", "'self'", "data:"}, directive
    for word in ("<script", "<style", "style=", "onclick", "http://", "https://"):
        assert word not in answer.text
    assert f'<link rel="stylesheet" href="{style}">' in answer.text
    assert (await api.get(style)).headers["content-type"].startswith("text/css")


async def test_page_tells_every_path(api: Api) -> None:
    text = (await api.get(PATH)).text
    paths = (await api.get("/openapi.json")).json()["paths"]
    assert paths
    for path in paths:
        assert f"<code>{path}</code>" in text
    assert 'href="#JobView"' in text
    assert 'id="JobView"' in text


async def test_tls_stays_on_once_it_was_used(api: Api) -> None:
    answer = await api.get("https://localhost/livez")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_openapi_document_names_no_page() -> None:
    paths = json.loads(document())["paths"]
    assert not paths.keys() & {path for pair in PAGES for path in pair}
