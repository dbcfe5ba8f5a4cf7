"""The API with its inspector switched off, as the proofs of the box need it."""

from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.app.api.conftest import MAX_UPLOAD_BYTES, Api
from tests.app.api.given import a_body

pytestmark = pytest.mark.anyio

CORPUS = Path(__file__).parents[2] / "corpus"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"inspect_uploads": False})


async def uploaded(api: Api, kind: str, file: str) -> dict[str, Any]:
    content = (CORPUS / file).read_bytes()
    answer = await api.post(f"/v1/{kind}?name={file}", content=content)
    assert answer.status_code == 201, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def test_upload_is_ready_without_facts(api: Api) -> None:
    model = await uploaded(api, "models", "k01_lambda_marshal.keras")
    assert (model["status"], model["inspection"]) == ("ready", None)


async def test_door_refuses_what_breaks_its_own_rules(api: Api) -> None:
    content = (CORPUS / "k18_zip_slip.keras").read_bytes()
    answer = await api.post("/v1/models?name=a.keras", content=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "rejected_upload")
    assert len(content) < MAX_UPLOAD_BYTES


async def test_job_is_taken_when_nothing_is_known_of_its_uploads(api: Api) -> None:
    model = await uploaded(api, "models", "k01_lambda_marshal.keras")
    dataset = await uploaded(api, "datasets", "d20_strings.npz")
    body = a_body(model["id"], dataset_id=dataset["id"])
    plan = (await api.post("/v1/jobs:validate", json=body)).json()
    assert "not inspected" in plan["warnings"][0]
    assert [step["technique"] for step in plan["steps"]] == ["magnitude_pruning"]
    assert (await api.post("/v1/jobs", json=body)).status_code == 202


async def test_job_is_refused_when_what_it_names_is_not_there(api: Api) -> None:
    model = await uploaded(api, "models", "k01_lambda_marshal.keras")
    body = a_body(model["id"], dataset_id="dst_00000000000000000000000000")
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/dataset_id"


async def test_job_is_refused_when_its_recipe_is_in_no_order(api: Api) -> None:
    model = await uploaded(api, "models", "k01_lambda_marshal.keras")
    steps = [{"technique": "float16_quantization"}, {"technique": "batch_norm_folding"}]
    answer = await api.post("/v1/jobs", json=a_body(model["id"], recipe={"steps": steps}))
    assert (answer.status_code, answer.json()["code"]) == (422, "impossible_recipe")


async def test_readiness_and_log_say_so_loudly(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    checks = (await api.get("/readyz")).json()["checks"]
    assert "UPLOADS ARE NOT INSPECTED" in checks["inspection"]["detail"]
    assert "inspection.OFF" in [record.message for record in caplog.get_records("setup")]
