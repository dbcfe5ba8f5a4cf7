"""`/v1/usage`, and quotas as they are met over HTTP."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from app.accounts.principal import DEFAULT_TENANT, Scope
from app.accounts.quotas import Quotas
from app.database.tables import tenants
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.conftest import add_tenant

pytestmark = pytest.mark.anyio

ROWS = b"a,label\n" + b"1,0\n2,1\n" * 10
OTHER = "ten_other"


def agree(api: Api, tenant_id: str = DEFAULT_TENANT, **quotas: float | None) -> None:
    with api.services.jobs.database.write() as connection:
        theirs = update(tenants).where(tenants.c.id == tenant_id)
        connection.execute(theirs.values(quotas=quotas))


async def usage(api: Api, headers: dict[str, str] | None = None) -> dict[str, tuple[Any, Any]]:
    answer = await api.get("/v1/usage", headers=headers)
    assert answer.status_code == 200, answer.text
    return {one["name"]: (one["used"], one["limit"]) for one in answer.json()["quotas"]}


async def test_usage_of_a_new_tenant_is_nothing_of_any_number(api: Api) -> None:
    assert await usage(api) == {
        "storage_bytes": (0, None),
        "upload_bytes": (None, None),
        "jobs_queued": (0, None),
        "jobs_running": (0, None),
        "run_s": (0, None),
    }


async def test_usage_says_what_is_used_of_what(api: Api) -> None:
    agree(api, storage_bytes=20_000, jobs_queued=3, run_s=3600, upload_bytes=500)
    done, running = await given.a_job(api), await given.a_job(api)
    await given.a_job(api)
    given.succeeded(api, done["id"])
    given.started(api, running["id"])
    api.clock.advance(90)

    answer = (await api.get("/v1/usage")).json()
    size = len(given.CONTENT)

    assert answer["storage"].keys() == {"uploads_bytes", "artifacts_bytes", "rows_bytes"}
    assert answer["storage"]["uploads_bytes"] == 3 * size
    assert answer["storage"]["artifacts_bytes"] == size
    assert answer["storage"]["rows_bytes"] > 3 * 1024
    assert (answer["month"], answer["month_ends_at"]) == ("2026-01", "2026-02-01T00:00:00Z")
    assert await usage(api) == {
        "storage_bytes": (3 * size + size + answer["storage"]["rows_bytes"], 20_000),
        "upload_bytes": (None, 500),
        "jobs_queued": (1, 3),
        "jobs_running": (1, None),
        "run_s": (90, 3600),
    }


async def test_tenants_do_not_share_what_is_counted(asking: Api) -> None:
    add_tenant(asking.services.jobs.database, OTHER, "other")
    given.a_model(asking)
    key = given.bearing(given.a_key(asking, Scope.READ, OTHER))
    assert (await usage(asking, key))["storage_bytes"] == (0, None)
    assert (await usage(asking, given.bearing(given.a_key(asking))))["storage_bytes"][0] > 0


async def test_upload_is_refused_when_it_says_that_it_is_larger_than_its_tenant_may_send(
    api: Api,
) -> None:
    agree(api, upload_bytes=len(ROWS))
    fits = await api.post("/v1/datasets?label=label", content=ROWS)
    assert fits.status_code == 201, fits.text
    refused = await api.post("/v1/datasets?label=label", content=ROWS + b"\n")
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert refused.json()["detail"] == (
        f"{len(ROWS) + 1} bytes were announced; at most {len(ROWS)} are allowed"
    )


@pytest.mark.parametrize("is_announced", [True, False])
async def test_upload_is_refused_when_the_storage_is_full(api: Api, is_announced: bool) -> None:
    async def chunked() -> Any:
        yield ROWS

    await api.post("/v1/datasets?label=label", content=ROWS)
    used, _ = (await usage(api))["storage_bytes"]
    assert used > 2 * len(ROWS)  # what is known of them counts, too
    agree(api, storage_bytes=used + len(ROWS) - 1)
    content: Any = ROWS if is_announced else chunked()
    refused = await api.post("/v1/datasets?label=label", content=content)
    assert (refused.status_code, refused.json()["code"]) == (507, "quota_storage")
    assert refused.json()["hint"].startswith("Delete models, data sets and jobs")

    held = (await api.get("/v1/datasets")).json()["items"]
    assert len(held) == 1
    await api.http.delete(f"/v1/datasets/{held[0]['id']}")
    assert (await api.post("/v1/datasets?label=label", content=ROWS)).status_code == 201


async def test_job_is_refused_when_enough_of_them_wait(api: Api) -> None:
    agree(api, jobs_queued=1)
    body = given.a_body(given.a_model(api))
    key = {"Idempotency-Key": "mine"}
    first = await api.post("/v1/jobs", json=body, headers=key)

    refused = await api.post("/v1/jobs", json=body)
    again = await api.post("/v1/jobs", json=body, headers=key)

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_jobs_queued")
    assert refused.headers["retry-after"] == "30"
    assert refused.json()["retryable"] is True
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert api.queue.sent == [first.json()["id"]]


async def test_job_is_refused_until_the_next_month_when_this_one_is_used_up(api: Api) -> None:
    agree(api, run_s=10)
    job = await given.a_job(api)
    given.started(api, job["id"])
    api.clock.advance(10)

    refused = await api.post("/v1/jobs", json=given.a_body(given.a_model(api)))

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_run_seconds")
    assert int(refused.headers["retry-after"]) == 30 * 86_400 - (3 * 3600 + 4 * 60 + 15)


async def test_quotas_of_the_settings_hold_where_nothing_else_was_agreed(api: Api) -> None:
    given_settings = api.services.settings.model_copy(update={"quota_jobs_running": 4})
    store = type(api.services.jobs.store)(
        api.services.jobs.database, Quotas.from_settings(given_settings)
    )
    api.application.state.services = replace(
        api.services, jobs=replace(api.services.jobs, store=store)
    )
    assert (await usage(api))["jobs_running"] == (0, 4)
    agree(api, jobs_running=None)
    assert (await usage(api))["jobs_running"] == (0, None)
