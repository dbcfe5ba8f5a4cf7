"""Submitting, reading and ending jobs over HTTP."""

import pytest
from sqlalchemy import select

from app.accounts.principal import DEFAULT_TENANT
from app.database.tables import artifacts, job_events, job_labels, job_uploads
from app.errors import OutOfMemory, RejectedUpload
from app.jobs.job import JobState
from app.jobs.outcomes import Outcome
from app.uploads.upload import UploadStatus
from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

VIEW = {
    *("id", "name", "state", "phase", "progress", "queue_position", "eta_s", "verdict", "attempt"),
    *("cancel_requested", "model_id", "dataset_id", "recipe", "constraints", "outputs", "control"),
    *(
        "teacher_model_id",
        "student_model_id",
        "limits",
        "tags",
        "error",
        "report",
        "artifacts",
        "retry_of",
    ),
    *("created_at", "started_at", "finished_at"),
}


async def test_submit_answers_with_the_queued_job_and_wakes_a_worker(api: Api) -> None:
    model_id = given.a_model(api)
    answer = await api.post("/v1/jobs", json=given.a_body(model_id, name="n", tags={"a": "b"}))
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert set(job) == VIEW
    assert (job["state"], job["queue_position"], job["attempt"]) == ("queued", 1, 0)
    assert (job["model_id"], job["name"], job["tags"]) == (model_id, "n", {"a": "b"})
    assert job["outputs"] == ["keras", "tflite"]
    assert job["recipe"]["steps"][0]["scope"] == "per_layer"
    assert api.queue.sent == [job["id"]]


async def test_submit_keeps_the_job_when_the_broker_is_down(api: Api) -> None:
    api.queue.is_down = True
    job = await given.a_job(api)
    assert api.services.jobs.get(DEFAULT_TENANT, job["id"]).sent_at is None
    assert (await api.get(f"/v1/jobs/{job['id']}")).json()["state"] == "queued"


async def test_submit_is_refused_with_a_pointer_when_the_model_is_unknown(api: Api) -> None:
    answer = await api.post("/v1/jobs", json=given.a_body("mdl_none"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/model_id"


async def test_submit_is_refused_when_the_model_id_names_a_data_set(api: Api) -> None:
    answer = await api.post("/v1/jobs", json=given.a_body(given.a_dataset(api)))
    assert answer.json()["errors"][0]["pointer"] == "/model_id"


async def test_submit_is_refused_with_a_pointer_when_the_data_set_is_unknown(api: Api) -> None:
    body = given.a_body(given.a_model(api), dataset_id="dst_none")
    answer = await api.post("/v1/jobs", json=body)
    assert answer.json()["errors"][0]["pointer"] == "/dataset_id"


async def test_submit_waits_for_the_inspection_when_it_is_not_finished(api: Api) -> None:
    model_id = given.a_model(api, status=UploadStatus.INSPECTING, inspection=None)
    problem = (await api.post("/v1/jobs", json=given.a_body(model_id))).json()
    assert (problem["status"], problem["code"]) == (409, "not_ready")
    assert problem["retryable"]


async def test_submit_is_refused_when_the_model_was_rejected(api: Api) -> None:
    reason = RejectedUpload("a bomb").as_problem()
    model_id = given.a_model(api, status=UploadStatus.REJECTED, inspection=None, problem=reason)
    problem = (await api.post("/v1/jobs", json=given.a_body(model_id))).json()
    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/model_id")
    assert "a bomb" in problem["detail"]


async def test_submit_is_refused_when_the_recipe_needs_data_and_has_none(api: Api) -> None:
    recipe = {"steps": [{"technique": "full_integer_quantization"}]}
    problem = await api.post("/v1/jobs", json=given.a_body(given.a_model(api), recipe=recipe))
    assert problem.status_code == 422
    assert [error["pointer"] for error in problem.json()["errors"]] == ["/dataset_id"]
    assert api.queue.sent == []


async def test_submit_is_refused_when_a_text_holds_nul(api: Api) -> None:
    body = given.a_body(given.a_model(api), name="a\0b", tags={"x": "\0"})
    problem = (await api.post("/v1/jobs", json=body)).json()
    assert problem["status"] == 422
    assert [error["pointer"] for error in problem["errors"]] == ["/name", "/tags/x"]


async def test_validate_says_what_would_be_done_and_stores_nothing(api: Api) -> None:
    body = given.a_body(given.a_model(api), dataset_id=given.a_dataset(api))
    answer = await api.post("/v1/jobs:validate", json=body)
    plan = answer.json()
    assert answer.status_code == 200
    assert [step["technique"] for step in plan["steps"]] == ["magnitude_pruning"]
    assert set(plan) >= {"steps", "skipped", "understood", "needs", "warnings"}
    assert (await api.get("/v1/jobs")).json()["items"] == []
    assert api.queue.sent == []


async def test_validate_is_refused_with_every_complaint(api: Api) -> None:
    steps = [
        {"technique": "float16_quantization"},
        {"technique": "magnitude_pruning", "sparsity": 0.5, "include": ["dens.*"]},
    ]
    body = given.a_body(given.a_model(api), recipe={"steps": steps})
    problem = (await api.post("/v1/jobs:validate", json=body)).json()
    assert (problem["status"], problem["code"]) == (422, "impossible_recipe")
    pointers = [error["pointer"] for error in problem["errors"]]
    assert pointers == ["/recipe/steps/0", "/recipe/steps/1/include/0"]


async def test_cancel_ends_a_queued_job_at_once_and_stays_so_when_repeated(api: Api) -> None:
    job = await given.a_job(api)
    first = await api.post(f"/v1/jobs/{job['id']}/cancel")
    again = await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    assert again.json() == first.json()


async def test_cancel_marks_a_running_job(api: Api) -> None:
    job = await given.a_job(api)
    given.started(api, job["id"])
    view = (await api.post(f"/v1/jobs/{job['id']}/cancel")).json()
    assert (view["state"], view["cancel_requested"]) == ("running", True)


async def test_retry_is_refused_when_the_job_is_not_final(api: Api) -> None:
    job = await given.a_job(api)
    problem = (await api.post(f"/v1/jobs/{job['id']}/retry")).json()
    assert (problem["status"], problem["code"]) == (409, "illegal_transition")


async def test_retry_makes_one_new_job_however_often_it_is_asked(api: Api) -> None:
    job = await given.a_job(api, name="again")
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    first = await api.post(f"/v1/jobs/{job['id']}/retry")
    again = await api.post(f"/v1/jobs/{job['id']}/retry")
    view = first.json()
    assert first.status_code == 202
    assert first.headers["location"] == f"/v1/jobs/{view['id']}"
    assert (view["retry_of"], view["state"], view["name"]) == (job["id"], "queued", "again")
    assert again.json()["id"] == view["id"]
    assert api.queue.sent == [job["id"], view["id"]]


async def test_retry_makes_another_job_when_the_first_retry_is_final(api: Api) -> None:
    job = await given.a_job(api)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    first = (await api.post(f"/v1/jobs/{job['id']}/retry")).json()
    await api.post(f"/v1/jobs/{first['id']}/cancel")
    second = (await api.post(f"/v1/jobs/{job['id']}/retry")).json()
    assert len({job["id"], first["id"], second["id"]}) == 3


async def test_succeeded_job_shows_report_layers_and_artifacts(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    given.succeeded(api, job_id)
    job = (await api.get(f"/v1/jobs/{job_id}")).json()
    report = given.a_report().model_dump(mode="json")
    assert (job["state"], job["verdict"], job["progress"]) == ("succeeded", "met", 1.0)
    assert job["report"] == report
    assert (await api.get(f"/v1/jobs/{job_id}/report")).json() == report
    layers = (await api.get(f"/v1/jobs/{job_id}/layers")).json()
    assert layers == {"items": [given.a_layer().model_dump(mode="json")]}
    artifacts = (await api.get(f"/v1/jobs/{job_id}/artifacts")).json()
    assert artifacts == {"items": job["artifacts"]}
    assert set(job["artifacts"][0]) == {"id", "kind", "format", "size_bytes", "sha256", "url"}


@pytest.mark.parametrize("part", ["report", "layers"])
async def test_report_is_not_ready_while_the_job_may_still_succeed(api: Api, part: str) -> None:
    job = await given.a_job(api)
    problem = (await api.get(f"/v1/jobs/{job['id']}/{part}")).json()
    assert (problem["status"], problem["code"]) == (409, "not_ready")


@pytest.mark.parametrize("part", ["report", "layers"])
async def test_report_is_not_found_when_the_job_ended_without(api: Api, part: str) -> None:
    job = await given.a_job(api)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    problem = (await api.get(f"/v1/jobs/{job['id']}/{part}")).json()
    assert (problem["status"], problem["code"]) == (404, "no_report")


async def test_failed_job_shows_its_error_as_a_problem(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    problem = OutOfMemory("4 GiB were not enough", hint="Raise it.", stage="training").as_problem()
    given.ended(api, job_id, given.started(api, job_id), Outcome(JobState.FAILED, problem=problem))
    error = (await api.get(f"/v1/jobs/{job_id}")).json()["error"]
    assert error == {
        "type": "urn:penjing:problem:out_of_memory",
        "title": OutOfMemory.title,
        "status": 500,
        "detail": "4 GiB were not enough",
        "instance": f"/v1/jobs/{job_id}",
        "code": "out_of_memory",
        "stage": "training",
        "errors": [],
        "retryable": False,
        "hint": "Raise it.",
        "layer": None,
        "request_id": None,
    }


async def test_running_job_says_how_long_it_will_take(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    fence = given.started(api, job_id)
    assert (await api.get(f"/v1/jobs/{job_id}")).json()["eta_s"] is None
    given.reported(api, job_id, fence, 0.25)
    api.clock.advance(10)
    job = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert (job["eta_s"], job["phase"], job["progress"]) == (30.0, "training", 0.25)
    assert job["queue_position"] is None


@pytest.mark.parametrize("path", ["", "/report", "/layers", "/artifacts", "/events"])
@pytest.mark.parametrize("job_id", ["job_none", "1 OR 1=1", "*", "%2e%2e"])
async def test_unknown_job_is_not_found(api: Api, job_id: str, path: str) -> None:
    answer = await api.get(f"/v1/jobs/{job_id}{path}")
    assert answer.status_code == 404


@pytest.mark.parametrize("verb", ["cancel", "retry"])
async def test_unknown_job_is_not_found_by_a_verb(api: Api, verb: str) -> None:
    problem = (await api.post(f"/v1/jobs/job_none/{verb}")).json()
    assert (problem["status"], problem["code"]) == (404, "not_found")


async def test_retry_is_refused_when_the_model_is_gone(api: Api) -> None:
    job = await given.a_job(api)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await api.http.delete(f"/v1/models/{job['model_id']}")).status_code == 204
    problem = (await api.post(f"/v1/jobs/{job['id']}/retry")).json()
    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/model_id")


async def test_final_job_is_deleted_with_all_that_hangs_on_it(api: Api) -> None:
    job_id = (await given.a_job(api, tags={"a": "b"}))["id"]
    given.succeeded(api, job_id)
    [artifact] = (await api.get(f"/v1/jobs/{job_id}/artifacts")).json()["items"]
    other = await given.a_job(api)
    assert (await api.http.delete(f"/v1/jobs/{job_id}")).status_code == 204

    for path in (f"jobs/{job_id}", f"jobs/{job_id}/events", f"artifacts/{artifact['id']}/content"):
        assert (await api.get(f"/v1/{path}")).status_code == 404
    assert [job["id"] for job in (await api.get("/v1/jobs")).json()["items"]] == [other["id"]]
    with api.services.jobs.database.read() as connection:
        for table in (job_events, job_labels, job_uploads, artifacts):
            ids = set(connection.execute(select(table.c.job_id)).scalars())
            assert ids <= {other["id"]}, table.name
    assert api.services.jobs.store.blobs_in_use() == set()


async def test_job_that_has_not_ended_is_not_deleted(api: Api) -> None:
    job_id = (await given.a_job(api))["id"]
    for begin in (lambda: None, lambda: given.started(api, job_id)):
        begin()
        answer = await api.http.delete(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert (await api.get(f"/v1/jobs/{job_id}")).status_code == 200
