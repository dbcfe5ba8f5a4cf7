"""Requests that try to be more than a request: by their names, lengths, numbers and ids.

What is in the files is not looked at here, so the inspector is off.
"""

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from app.api import receiving
from app.settings import Settings
from tests.app.api.conftest import MAX_UPLOAD_BYTES, Api
from tests.app.api.given import a_body, a_model
from tests.hostile_files import CORPUS, marks

pytestmark = pytest.mark.anyio

MODEL = (CORPUS / "m01_ok.keras").read_bytes()
CASES = {
    case["case"]: case for case in json.loads((CORPUS / "manifest.json").read_text())["http_cases"]
}
HERE = {
    *("html", "content_length_lies", "dotfile", "json_nan_hyperparameters", "absolute", "windows"),
    *("quotes", "nul", "learning_rate_inf", "slow_body", "content_type_html", "traversal"),
    *("unicode", "id_not_uuid"),
}
# With the tests of tenants and of the worker.
ELSEWHERE = {
    *("other_tenant_model_id", "other_tenant_job_cancel_or_download"),
    "celery_pickle_message_on_broker",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"inspect_uploads": False})


def kept(api: Api) -> list[Path]:
    """Every file in the blob store but its lock."""
    root = api.services.blobs.root
    return [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]


def test_every_case_of_the_manifest_is_tried() -> None:
    assert CASES.keys() == HERE | ELSEWHERE


@pytest.mark.parametrize("as_form", [True, False])
@pytest.mark.parametrize(
    ("case", "shown"),
    [
        ("html", "script>.keras"),
        ("absolute", "pwned_http2.keras"),
        ("traversal", "pwned_http1.keras"),
        ("windows", "x.keras"),
        ("quotes", 'a"; filename="b.keras'),
        ("unicode", "模型.keras"),
    ],
)
async def test_name_is_data_that_comes_back_as_a_download(
    api: Api, case: str, shown: str, as_form: bool
) -> None:
    # A model that is called .html is refused for that alone.
    name = CASES[case]["filename"].replace(".html", ".keras")
    with marks() as left:
        if as_form:
            answer = await api.post("/v1/models", content=form_of(name), headers=FORM)
        else:
            answer = await api.post(f"/v1/models?name={quote(name)}", content=MODEL)
        model = answer.json()
        download = await api.get(f"/v1/models/{model['id']}/content")
        assert left.left() == []
    assert (answer.status_code, model["name"]) == (201, shown)
    assert [path.parent.name + path.name for path in kept(api)] == [model["sha256"]]
    headers = download.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    disposition = headers.get_list("content-disposition")
    ending = "" if shown.endswith(".keras") else ".keras"
    assert len(disposition) == 1
    assert disposition[0].startswith('attachment; filename="')
    assert disposition[0].count('"') == 2
    assert disposition[0].endswith(f"; filename*=UTF-8''{quote(shown + ending, safe='')}")


FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


def form_of(name: str) -> bytes:
    """The file under this name, quoted as browsers do."""
    quoted = (
        name.replace('"', "%22").encode() if '"' not in name else name.replace('"', '\\"').encode()
    )
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="' + quoted + b'"'
    return head + b"\r\n\r\n" + MODEL + b"\r\n--edge--\r\n"


@pytest.mark.parametrize("case", ["dotfile", "nul"])
async def test_name_is_refused_when_nothing_of_it_can_be_shown(api: Api, case: str) -> None:
    answer = await api.post(f"/v1/models?name={quote(CASES[case]['filename'])}", content=MODEL)
    assert 400 <= answer.status_code < 500
    assert kept(api) == []


async def test_format_is_what_the_bytes_say_when_the_header_says_otherwise(api: Api) -> None:
    answer = await api.post("/v1/models", content=MODEL, headers={"Content-Type": "text/html"})
    assert (answer.status_code, answer.json()["format"]) == (201, "keras")
    path = f"/v1/models/{answer.json()['id']}/content"
    assert (await api.get(path)).headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("bad_id", CASES["id_not_uuid"]["ids"])
@pytest.mark.parametrize("route", ["models", "datasets", "jobs", "artifacts"])
async def test_id_leads_nowhere_when_it_is_none(api: Api, bad_id: str, route: str) -> None:
    path = f"/v1/{route}/{bad_id if '%' in bad_id else quote(bad_id, safe='')}"
    for answer in (await api.get(path), await api.http.delete(path)):
        assert answer.status_code in (404, 405, 422), answer.text
        assert str(api.services.settings.home) not in answer.text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_job_is_refused_when_a_number_is_none(api: Api, number: str) -> None:
    recovery = '{"epochs": 1, "learning_rate": ' + number + "}"
    step = '{"technique": "magnitude_pruning", "sparsity": 0.5, "recovery": ' + recovery + "}"
    body = json.dumps(a_body(a_model(api), recipe="RECIPE"))
    body = body.replace('"RECIPE"', '{"steps": [' + step + "]}")
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        answer = await api.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
    assert api.queue.sent == []


# The length of a body


async def raw_answer(url: str, head: str, body: bytes) -> bytes:
    """What comes back for a request written by hand; nothing where the server just hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    writer.write(f"POST /v1/models HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode() + body)
    await writer.drain()
    async with asyncio.timeout(60):
        answer = await reader.read(2**16)
    writer.close()
    return answer


async def nothing_is_kept(api: Api) -> None:
    async with asyncio.timeout(60):
        while kept(api):  # noqa: ASYNC110 - the server ends when it likes
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("length", "body", "statuses"),
    [
        ("Content-Length: 5", MODEL, {b"415", b"422"}),
        (f"Content-Length: {MAX_UPLOAD_BYTES + 1}", MODEL, {b"413"}),
        ("Content-Length: 99999999999999999999", MODEL, {b"400", b"413"}),
        ("Content-Length: -1", MODEL, {b"400"}),
        ("Content-Length: 3, 4", MODEL, {b"400"}),
        ("Transfer-Encoding: chunked", b"-5\r\n" + MODEL, {b"400", b""}),
    ],
)
async def test_body_of_another_length_than_announced_leaves_nothing(
    api: Api, url: str, length: str, body: bytes, statuses: set[bytes]
) -> None:
    answer = await raw_answer(url, length, body)
    assert answer[9:12] in statuses, answer
    await nothing_is_kept(api)
    assert (await api.get("/v1/models")).json()["items"] == []


async def test_body_without_a_length_is_counted_as_it_comes(api: Api, url: str) -> None:
    piece = b"100000\r\n" + bytes(2**20) + b"\r\n"
    answer = await raw_answer(url, "Transfer-Encoding: chunked", piece * 4)
    assert answer[9:12] == b"413"
    await nothing_is_kept(api)


async def test_body_that_stalls_is_given_up(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "IDLE_S", 0.2)
    answer = await raw_answer(url, "Content-Length: 1000", b"x")
    assert answer[9:12] == b"408"
    await nothing_is_kept(api)
