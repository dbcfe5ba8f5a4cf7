"""Every change and every refusal is written down, once, without secrets, for its tenant alone."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.accounts.principal import DEFAULT_TENANT, Scope
from app.accounts.service import KeyWish
from app.api.auditing import HARMLESS, action_of
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.conftest import add_tenant
from tests.fakes import STARTING, a_change

pytestmark = pytest.mark.anyio

PATH = "/v1/audit-log"
OTHER = "ten_other"


@pytest.fixture
def admin(asking: Api) -> dict[str, str]:
    return given.bearing(given.a_key(asking, Scope.ADMIN))


async def entries(api: Api, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Oldest first, without what the test started from."""
    answer = await api.get(PATH, headers=headers)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return [entry for entry in items[::-1] if entry["action"] != STARTING]


async def written(api: Api, headers: dict[str, str]) -> list[tuple[str, int]]:
    return [(entry["action"], entry["status"]) for entry in await entries(api, headers)]


async def test_change_is_written_down_with_who_and_what(asking: Api, admin: dict[str, str]) -> None:
    body = given.a_body(given.a_model(asking))
    answer = await asking.post("/v1/jobs", json=body, headers={**admin, "X-Request-ID": "mine-1"})
    job_id = answer.json()["id"]
    await asking.post(f"/v1/jobs/{job_id}/cancel", headers=admin)

    submitted, cancelled = await entries(asking, admin)

    [key] = asking.services.accounts.page(DEFAULT_TENANT, 10, None).items
    assert submitted == {
        "id": submitted["id"],
        "at": asking.clock().isoformat().replace("+00:00", "Z"),
        "key_id": key.id,
        "action": "job.submit",
        "object_id": job_id,
        "status": 202,
        "address": "127.0.0.1",
        "request_id": "mine-1",
    }
    assert (cancelled["action"], cancelled["object_id"]) == ("job.cancel", job_id)


async def test_reading_and_what_changes_nothing_is_not_written_down(
    asking: Api, admin: dict[str, str]
) -> None:
    model_id = given.a_model(asking)
    await asking.get(f"/v1/models/{model_id}", headers=admin)
    await asking.post("/v1/jobs:validate", json=given.a_body(model_id), headers=admin)
    await asking.post("/v1/jobs", json={}, headers=admin)
    await asking.post("/nowhere", headers=admin)
    await asking.http.delete("/v1/models/mdl_none", headers=admin)
    assert await written(asking, admin) == []


async def test_refusals_are_written_down(asking: Api, admin: dict[str, str]) -> None:
    reader = given.bearing(given.a_key(asking, Scope.READ))
    await asking.http.delete("/v1/models/mdl_1", headers=reader)
    await asking.get(PATH, headers=reader)
    await asking.http.delete(
        "/v1/models/mdl_1", headers={**admin, "Origin": "https://evil.example"}
    )
    assert await written(asking, admin) == [
        ("model.delete", 403),
        ("audit_log.read", 403),
        ("model.delete", 403),
    ]


async def test_wrong_key_is_written_down_for_the_operator(
    asking: Api, admin: dict[str, str]
) -> None:
    secret = f"pj_{'0' * 12}_{'1' * 64}"
    await asking.get("/v1/me", headers=given.bearing(secret))
    assert await written(asking, admin) == []
    [row] = rows_of(asking)
    assert (row["action"], row["status"], row["tenant_id"]) == ("request.refuse", 401, None)
    assert row["address"] == "127.0.0.1"
    assert "1111" not in str(row)


@pytest.mark.parametrize("ended", ["revoked", "expired"])
async def test_tenant_is_told_that_its_spent_key_is_used(
    asking: Api, admin: dict[str, str], ended: str
) -> None:
    accounts = asking.services.accounts
    wish = KeyWish("leaked", frozenset({Scope.READ}), timedelta(seconds=60))
    key, text = accounts.issue(a_change(), wish)
    if ended == "revoked":
        accounts.revoke(a_change(), key.id)
    asking.clock.advance(60)
    assert (await asking.get("/v1/jobs", headers=given.bearing(text))).status_code == 401
    [entry] = await entries(asking, admin)
    assert (entry["key_id"], entry["action"], entry["status"], entry["address"]) == (
        key.id,
        "request.refuse",
        401,
        "127.0.0.1",
    )


async def test_flood_of_wrong_keys_is_written_down_only_up_to_its_limit(asking: Api) -> None:
    services = asking.services
    changes = {"rate_limit_refused_keys": 4}
    asking.application.state.services = replace(
        services, settings=services.settings.model_copy(update=changes)
    )
    for _ in range(10):
        await asking.get("/v1/me")
    assert len(rows_of(asking)) == 4


@pytest.mark.parametrize("hostile", [{"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}])
async def test_flood_of_other_pages_is_written_down_only_up_to_its_limit(
    api: Api, hostile: dict[str, str]
) -> None:
    services = api.services
    changes = {"rate_limit_refused_keys": 4}
    api.application.state.services = replace(
        services, settings=services.settings.model_copy(update=changes)
    )
    sent = [await api.post("/v1/jobs", json={}, headers=hostile) for _ in range(10)]
    assert [answer.status_code for answer in sent] == [403] * 4 + [429] * 6
    assert len(rows_of(api)) == 4
    assert (await api.get("/v1/jobs")).status_code == 200


async def test_failure_of_a_change_is_written_down(
    asking: Api, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        patches.setattr(
            type(asking.services.jobs), "cancel", raising_any(RuntimeError("unforeseen"))
        )
        assert (await asking.post("/v1/jobs/job_1/cancel", headers=admin)).status_code == 500
    assert await written(asking, admin) == [("job.cancel", 500)]


def raising_any(error: Exception) -> Any:
    def method(*_: object) -> object:
        raise error

    return method


async def test_secret_of_a_new_key_is_not_written_down(asking: Api, admin: dict[str, str]) -> None:
    wish = {"name": "ci", "scopes": ["read"]}
    made = (await asking.post("/v1/api-keys", json=wish, headers=admin)).json()
    await asking.http.delete(f"/v1/api-keys/{made['id']}", headers=admin)
    found = await entries(asking, admin)
    assert [(entry["action"], entry["object_id"]) for entry in found] == [
        ("api_key.create", made["id"]),
        ("api_key.revoke", made["id"]),
    ]
    assert made["key"] not in json.dumps(found)


async def test_hostile_ids_are_not_written_down(asking: Api, admin: dict[str, str]) -> None:
    reader = given.bearing(given.a_key(asking, Scope.READ))
    await asking.http.delete("/v1/models/%0Aforged%1B[31m", headers=reader)
    assert [entry["object_id"] for entry in await entries(asking, admin)] == [None]


async def test_tenant_reads_its_own_log_alone(asking: Api, admin: dict[str, str]) -> None:
    add_tenant(asking.services.jobs.database, OTHER, "other")
    others = given.bearing(given.a_key(asking, Scope.ADMIN, OTHER))
    await asking.post("/v1/api-keys", json={"name": "x", "scopes": ["read"]}, headers=others)
    assert await written(asking, admin) == []
    assert await written(asking, others) == [("api_key.create", 201)]


async def test_pages_lead_through_the_log(asking: Api, admin: dict[str, str]) -> None:
    for _ in range(4):
        given.a_model(asking)
    ids = [row["id"] for row in all_rows(asking)]
    seen: list[str] = []
    path = f"{PATH}?limit=2"
    while path:
        answer = await asking.get(path, headers=admin)
        seen += [entry["id"] for entry in answer.json()["items"]]
        link = answer.headers.get("link", "")
        path = link.partition(">")[0].removeprefix("<")
    assert len(set(seen)) == 5
    assert seen == ids[::-1]


@pytest.mark.parametrize("cursor", ["x", "-1", "1" * 300, "\uff19", "1.5", "key_" + "0" * 26])
async def test_cursor_that_no_page_gave_out_is_refused(
    asking: Api, admin: dict[str, str], cursor: str
) -> None:
    answer = await asking.get(PATH, params={"cursor": cursor}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_old_entries_are_forgotten(asking: Api, admin: dict[str, str]) -> None:
    asking.clock.advance(86_400)
    given.a_model(asking)
    asking.clock.advance(86_400)
    assert len(all_rows(asking)) == 2
    assert asking.services.audit.forget(days=1) == 1
    assert len(all_rows(asking)) == 1


async def test_refusal_is_answered_and_logged_when_it_cannot_be_written_down(
    asking: Api, caplog: pytest.LogCaptureFixture
) -> None:
    model_id = given.a_model(asking)
    reader = given.bearing(given.a_key(asking, Scope.READ))
    with asking.services.jobs.database.write() as connection:
        connection.execute(text("DROP TABLE audit_log"))
    answer = await asking.http.delete(f"/v1/models/{model_id}", headers=reader)
    assert answer.status_code == 403
    [record] = [one for one in caplog.records if one.message == "audit.not_written"]
    assert record.__dict__["object_id"] == model_id


async def test_change_without_a_key_is_written_down_for_the_default_tenant(api: Api) -> None:
    await api.http.delete(f"/v1/models/{given.a_model(api)}")
    [entry] = await entries(api, {})
    assert (entry["action"], entry["key_id"]) == ("model.delete", None)


def test_every_change_has_a_noun_and_a_verb() -> None:
    names = given.changing_routes()
    assert names > HARMLESS
    for name in names:
        noun, verb = action_of(name).split(".")
        assert noun
        assert verb


def rows_of(api: Api) -> list[dict[str, Any]]:
    """Every row, oldest first, without what the test started from."""
    return [row for row in all_rows(api) if row["action"] != STARTING]


def all_rows(api: Api) -> list[dict[str, Any]]:
    with api.services.jobs.database.read() as connection:
        rows = connection.execute(text("SELECT * FROM audit_log ORDER BY seq")).mappings()
        return [dict(row) for row in rows]
