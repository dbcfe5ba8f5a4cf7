"""`Idempotency-Key`: the same key and body make one job."""

import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.errors import RequestInFlight
from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

KEY = {"Idempotency-Key": "k-1"}


async def test_same_key_and_body_give_the_same_job(api: Api) -> None:
    body = given.a_body(given.a_model(api))
    first = await api.post("/v1/jobs", json=body, headers=KEY)
    again = await api.post("/v1/jobs", json=body, headers=KEY)
    assert again.status_code == first.status_code == 202
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert api.queue.sent == [first.json()["id"]]


async def test_same_key_and_body_give_the_same_job_when_defaults_are_spelled_out(api: Api) -> None:
    body = given.a_body(given.a_model(api))
    first = (await api.post("/v1/jobs", json=body, headers=KEY)).json()
    spelled = {**body, "recipe": first["recipe"], "outputs": first["outputs"], "name": ""}
    again = await api.post("/v1/jobs", json=spelled, headers=KEY)
    assert again.json()["id"] == first["id"]


async def test_same_key_gives_the_same_job_when_its_model_is_gone(api: Api) -> None:
    body = given.a_body(given.a_model(api))
    first = (await api.post("/v1/jobs", json=body, headers=KEY)).json()
    await api.post(f"/v1/jobs/{first['id']}/cancel")
    await api.http.delete(f"/v1/models/{body['model_id']}")
    again = (await api.post("/v1/jobs", json=body, headers=KEY)).json()
    assert (again["id"], again["state"]) == (first["id"], "cancelled")


async def test_same_key_is_refused_when_the_body_differs(api: Api) -> None:
    body = given.a_body(given.a_model(api))
    await api.post("/v1/jobs", json=body, headers=KEY)
    problem = (await api.post("/v1/jobs", json={**body, "name": "other"}, headers=KEY)).json()
    assert (problem["status"], problem["code"]) == (422, "idempotency_key_reused")
    assert len(api.queue.sent) == 1


async def test_same_key_is_refused_while_the_first_request_is_in_flight(api: Api) -> None:
    body = given.a_body(given.a_model(api))
    api.services.jobs.in_flight.add((DEFAULT_TENANT, "submit:k-1"))
    answer = await api.post("/v1/jobs", json=body, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, RequestInFlight.code)
    assert answer.json()["retryable"]
    api.services.jobs.in_flight.clear()
    assert (await api.post("/v1/jobs", json=body, headers=KEY)).status_code == 202


async def test_key_is_free_again_when_the_request_was_refused(api: Api) -> None:
    refused = await api.post("/v1/jobs", json=given.a_body("mdl_none"), headers=KEY)
    accepted = await api.post("/v1/jobs", json=given.a_body(given.a_model(api)), headers=KEY)
    assert (refused.status_code, accepted.status_code) == (422, 202)


async def test_other_keys_and_no_key_make_other_jobs(api: Api) -> None:
    body = given.a_body(given.a_model(api))
    headers = [KEY, {"Idempotency-Key": "k-2"}, {}, {}]
    ids = [(await api.post("/v1/jobs", json=body, headers=one)).json()["id"] for one in headers]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_key_is_refused_when_its_length_is_wrong(api: Api, key: str) -> None:
    body = given.a_body(given.a_model(api))
    answer = await api.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/idempotency-key"
