"""Uploads over HTTP: raw and as a form, refused and accepted, listed and deleted."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.main import sweep
from tests.app.api import given
from tests.app.api.conftest import MAX_UPLOAD_BYTES, Api
from tests.app.datafiles.drawn import HEIGHT, WIDTH, archive, folder
from tests.app.datafiles.tables import parquet

pytestmark = pytest.mark.anyio

MODEL = Path(__file__).parents[3] / "examples" / "lenet5.keras"
CSV = b"a,b,label\n" + b"".join(b"%d,%d.5,%d\n" % (n, n, n % 2) for n in range(20))
RAW = {"Content-Type": "application/octet-stream"}
VIEW = {
    *("id", "name", "format", "size_bytes", "sha256", "status", "inspection", "problem"),
    "created_at",
}


def kept(api: Api) -> list[Path]:
    """Every file in the blob store but its lock."""
    root = api.services.blobs.root
    return [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]


async def test_model_is_understood_when_sent_raw(api: Api) -> None:
    content = MODEL.read_bytes()
    answer = await api.post("/v1/models?name=lenet5.keras", content=content, headers=RAW)
    model = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/models/{model['id']}"
    assert set(model) == VIEW
    assert (model["name"], model["format"], model["status"]) == ("lenet5.keras", "keras", "ready")
    assert model["sha256"] == hashlib.sha256(content).hexdigest()
    assert model["size_bytes"] == len(content)
    assert model["inspection"]["parameter_count"] == 431_080
    assert (await api.get(f"/v1/models/{model['id']}")).json() == model
    download = await api.get(f"/v1/models/{model['id']}/content")
    assert download.content == content
    assert 'filename="lenet5.keras"' in download.headers["content-disposition"]


async def test_data_set_is_read_as_its_query_says_when_sent_as_a_form(api: Api) -> None:
    form = {"file": ("rows.csv", CSV, "text/html")}
    answer = await api.post("/v1/datasets?scale=0.5&label=label&test_fraction=0.25", files=form)
    dataset = answer.json()
    assert answer.status_code == 201, answer.text
    assert set(dataset) == VIEW | {"options"}
    assert (dataset["name"], dataset["format"], dataset["status"]) == ("rows.csv", "csv", "ready")
    assert (dataset["options"]["scale"], dataset["options"]["label"]) == (0.5, "label")
    assert (dataset["inspection"]["train_rows"], dataset["inspection"]["test_rows"]) == (15, 5)
    download = await api.get(f"/v1/datasets/{dataset['id']}/content")
    assert download.content == CSV


async def test_table_of_columns_is_read_as_its_query_says(api: Api) -> None:
    url = "/v1/datasets?name=t.parquet&label=a&test_fraction=0.5"
    answer = await api.post(url, content=parquet(), headers=RAW)
    dataset = answer.json()
    assert answer.status_code == 201, answer.text
    assert (dataset["format"], dataset["options"]["label"]) == ("parquet", "a")
    assert (dataset["inspection"]["train_rows"], dataset["inspection"]["test_rows"]) == (20, 20)


async def test_folders_of_pictures_become_classes(api: Api) -> None:
    form = {"file": ("pets.zip", archive(folder(20, channels=3)), "application/zip")}
    dataset = (await api.post("/v1/datasets?scale=0.5", files=form)).json()
    assert (dataset["format"], dataset["status"], dataset["name"]) == (
        "images",
        "ready",
        "pets.zip",
    )
    assert dataset["inspection"]["inputs"][0]["shape"] == [HEIGHT, WIDTH, 3]
    assert dataset["inspection"]["labels"][0]["classes"] == ["cat", "dog"]


async def test_name_is_a_sensible_one_when_none_is_given(api: Api) -> None:
    answer = await api.post("/v1/datasets", content=CSV, headers=RAW)
    dataset = answer.json()
    assert dataset["name"] == "dataset"
    download = await api.get(f"/v1/datasets/{dataset['id']}/content")
    assert 'filename="dataset.csv"' in download.headers["content-disposition"]


async def test_same_bytes_are_stored_once(api: Api) -> None:
    first = (await api.post("/v1/datasets?name=a.csv", content=CSV, headers=RAW)).json()
    second = (await api.post("/v1/datasets?name=b.csv", content=CSV, headers=RAW)).json()
    assert first["id"] != second["id"]
    assert len(kept(api)) == 1


async def test_file_name_is_data_and_never_a_path(api: Api) -> None:
    answer = await api.post("/v1/datasets", files={"file": ("../..\\etc/x.csv", CSV)})
    assert (answer.status_code, answer.json()["name"]) == (201, "x.csv")


async def test_markup_in_a_file_name_stays_text(api: Api) -> None:
    name = '模型<script>";x.csv'
    answer = await api.post("/v1/datasets", files={"file": (name, CSV)})
    download = await api.get(f"/v1/datasets/{answer.json()['id']}/content")
    disposition = download.headers["content-disposition"]
    assert disposition.count('"') == 2
    assert "filename*=UTF-8''%E6%A8%A1%E5%9E%8B%3Cscript%3E" in disposition
    assert download.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("name", ["..", "%00.csv", "/"])
async def test_upload_is_refused_when_its_name_is_none(api: Api, name: str) -> None:
    answer = await api.post(f"/v1/datasets?name={name}", content=CSV, headers=RAW)
    assert 400 <= answer.status_code < 500
    assert kept(api) == []


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/models?name=a.keras", b"no model at all", 415),
        ("/v1/models?name=a.keras", b"", 422),
        ("/v1/models?name=a.csv", CSV, 415),
        ("/v1/models?name=a.zip", archive(folder(20)), 415),
        ("/v1/datasets?name=a.zip", CSV, 415),
        ("/v1/datasets?name=a.csv", parquet(), 415),
        ("/v1/datasets?name=a.parquet", parquet()[:-1], 422),
        ("/v1/datasets?name=a.parquet&label=z", parquet(), 422),
        ("/v1/datasets?name=a.zip", archive({**folder(20), "cat/x.png": b"x"}), 422),
        ("/v1/datasets?name=a.csv&scale=nan", CSV, 422),
        ("/v1/datasets?name=a.csv&test_fraction=1", CSV, 422),
        ("/v1/datasets?name=a.csv&scael=2", CSV, 422),
    ],
)
async def test_refused_upload_leaves_nothing(
    api: Api, path: str, content: bytes, status: int
) -> None:
    answer = await api.post(path, content=content, headers=RAW)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    assert kept(api) == []


async def test_upload_is_too_large_at_once_when_it_says_so(api: Api) -> None:
    headers = {**RAW, "Content-Length": str(MAX_UPLOAD_BYTES + 1)}
    answer = await api.post("/v1/models", content=never_read(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert kept(api) == []


async def test_upload_is_too_large_when_it_turns_out_so(api: Api) -> None:
    answer = await api.post("/v1/models", content=endless(), headers=RAW)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert kept(api) == []


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_upload_leaves_nothing_when_the_connection_is_lost(
    api: Api, url: str, length: str
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    head = f"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n"
    writer.write(head.encode() + b"64\r\n" + b"1" * 100 + b"\r\n")
    await writer.drain()
    async with asyncio.timeout(60):
        while not kept(api):  # noqa: ASYNC110 - the server writes when it likes
            await asyncio.sleep(0.01)
        writer.close()
        while kept(api):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await api.get("/v1/datasets")).json()["items"] == []


async def test_pages_list_the_newest_first(api: Api) -> None:
    names = [f"{number}.keras" for number in range(3)]
    for name in names:
        given.a_model(api, name)
    first = await api.get("/v1/models?limit=2")
    second = await api.get(first.headers["link"].split(">")[0].removeprefix("<"))
    listed = [model["name"] for page in (first, second) for model in page.json()["items"]]
    assert listed == names[::-1]
    assert second.json()["next_cursor"] is None


async def test_lists_do_not_mix_models_and_data_sets(api: Api) -> None:
    model_id, dataset_id = given.a_model(api), given.a_dataset(api)
    models = (await api.get("/v1/models")).json()["items"]
    assert [model["id"] for model in models] == [model_id]
    assert (await api.get(f"/v1/models/{dataset_id}")).status_code == 404
    assert (await api.http.delete(f"/v1/models/{dataset_id}")).status_code == 404


async def test_delete_is_refused_while_an_active_job_uses_the_model(api: Api) -> None:
    job = await given.a_job(api)
    refused = await api.http.delete(f"/v1/models/{job['model_id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    deleted = await api.http.delete(f"/v1/models/{job['model_id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await api.get(f"/v1/models/{job['model_id']}")).status_code == 404


async def test_sweep_frees_the_bytes_of_what_was_deleted(api: Api) -> None:
    kept_id, deleted_id = given.a_model(api, sha256=given.stored(api, b"1")), given.a_dataset(api)
    await api.http.delete(f"/v1/datasets/{deleted_id}")
    (api.services.blobs.root / "tmp" / "left-by-a-killed-process").touch()
    api.clock.now = api.clock.now.replace(year=2100)
    sweep(api.services)
    sha256 = (await api.get(f"/v1/models/{kept_id}")).json()["sha256"]
    assert kept(api) == [api.services.blobs.path(sha256)]


async def never_read() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 2**16
