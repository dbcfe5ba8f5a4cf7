"""What a test starts from: uploads that are ready, jobs in any state, a report, the routes."""

from typing import Any

from fastapi.routing import APIRoute

from app.accounts.principal import DEFAULT_TENANT, Scope
from app.accounts.service import KeyWish
from app.api.application import ROUTERS
from app.api.origins import SAFE_METHODS
from app.ids import new_id
from app.jobs.job import JobState
from app.jobs.leases import JobLeases
from app.jobs.outcomes import NewArtifact, Outcome
from app.jobs.rows import NewEvent
from app.recipes.facts import (
    DatasetFacts,
    DatasetOptions,
    Head,
    InputArray,
    LabelArray,
    LayerSpec,
    ModelFacts,
    ModelFormat,
    TensorSpec,
)
from app.reports.report import Delta, LayerReport, Measurement, Provenance, Report, Verdict
from app.uploads.formats import UploadKind
from app.uploads.upload import Upload, UploadStatus
from tests.app.api.conftest import Api
from tests.fakes import a_change

MODEL = ModelFacts(
    format=ModelFormat.KERAS,
    class_name="Sequential",
    inputs=(TensorSpec(name="image", shape=(4,), dtype="float32"),),
    outputs=(TensorSpec(name="logits", shape=(3,), dtype="float32"),),
    heads=(Head(output="logits", shape=(3,), activation="linear", units=3, compiled_loss=None),),
    layers=(
        LayerSpec(name="image", class_name="InputLayer", parameter_count=0),
        LayerSpec(name="logits", class_name="Dense", parameter_count=15),
    ),
    layer_count=2,
    parameter_count=15,
    is_recurrent=False,
    is_quantized=False,
    keras_version="3.15.1",
)
LABELS = LabelArray(
    name=None,
    shape=(),
    dtype="int64",
    encoding="integer",
    class_count=3,
    minimum=0,
    maximum=2,
)
DATASET = DatasetFacts(
    format="npz",
    train_rows=80,
    test_rows=20,
    is_split_here=False,
    inputs=(InputArray(name=None, shape=(4,), dtype="float32", minimum=0, maximum=1),),
    labels=(LABELS,),
    notes=(),
)
CONTENT = bytes(range(256)) * 5
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def a_model(api: Api, name: str = "net.keras", **changes: Any) -> str:
    return _upload(api, UploadKind.MODEL, name, "keras", MODEL.model_dump(mode="json"), changes)


def a_dataset(api: Api, name: str = "rows.npz", **changes: Any) -> str:
    facts = DATASET.model_dump(mode="json")
    return _upload(api, UploadKind.DATASET, name, "npz", facts, changes)


def a_key(
    api: Api, scope: Scope = Scope.READ, tenant_id: str = DEFAULT_TENANT, name: str = "test"
) -> str:
    """The text of a new key."""
    wish = KeyWish(name, frozenset({scope}), None)
    return api.services.accounts.issue(a_change(tenant_id), wish)[1]


def bearing(key: str) -> dict[str, str]:
    """The headers that bring a key."""
    return {"Authorization": f"Bearer {key}"}


def stored(api: Api, content: bytes) -> str:
    """Puts bytes into the blob store. Returns: their sha256."""
    with api.services.blobs.writer() as writer:
        writer.write(content)
        return writer.commit().sha256


def a_body(model_id: str, **changes: Any) -> dict[str, Any]:
    """A job that can be carried out without data."""
    step = {"technique": "magnitude_pruning", "sparsity": 0.5}
    return {"model_id": model_id, "recipe": {"steps": [step]}, **changes}


async def a_job(api: Api, **changes: Any) -> dict[str, Any]:
    """A queued job, submitted over HTTP."""
    answer = await api.post("/v1/jobs", json=a_body(a_model(api), **changes))
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def started(api: Api, job_id: str) -> int:
    """A worker takes the job. Returns: its fence."""
    leases = JobLeases(api.services.jobs.database)
    job = leases.claim(job_id, "worker-1", api.clock(), lease_s=60)
    assert job
    return job.fence


def reported(api: Api, job_id: str, fence: int, progress: float, *events: NewEvent) -> None:
    leases = JobLeases(api.services.jobs.database)
    assert leases.record(job_id, fence, api.clock(), events, "training", progress)


def ended(api: Api, job_id: str, fence: int, outcome: Outcome) -> None:
    assert JobLeases(api.services.jobs.database).commit(job_id, fence, outcome, api.clock())


def succeeded(api: Api, job_id: str) -> None:
    """The job runs and succeeds with a report and one artifact, which holds `CONTENT`."""
    artifact = NewArtifact(
        kind="tflite",
        format="tflite",
        filename="net.tflite",
        size_bytes=len(CONTENT),
        sha256=stored(api, CONTENT),
    )
    outcome = Outcome(
        JobState.SUCCEEDED,
        verdict=Verdict.MET,
        report=a_report().model_dump(mode="json"),
        layers=[a_layer().model_dump(mode="json")],
        artifacts=(artifact,),
    )
    ended(api, job_id, started(api, job_id), outcome)


def a_report() -> Report:
    measured = Measurement(
        format="tflite",
        variant="float32",
        runtime="ai_edge_litert 2.3.0",
        threads=1,
        batch_size=1,
        samples=20,
        accuracy=0.9,
        accuracy_ci95=(0.7, 0.97),
        loss=0.3,
        mse=None,
        mae=None,
        r2=None,
        heads=(),
        sha256="a" * 64,
        size_bytes=1280,
        compressed_size_bytes=900,
        parameter_count=15,
        nonzero_parameter_count=8,
        macs=12,
        latency_ms_p50=0.01,
        latency_ms_p95=0.02,
        latency_ms_iqr=0.001,
        latency_runs=100,
        peak_memory_bytes=1024,
    )
    return Report(
        baseline=measured,
        optimized=measured,
        outputs=(measured,),
        delta=Delta(
            accuracy_drop=0.0,
            compression_ratio=1.0,
            size_ratio=1.0,
            speedup=1.0,
            agreement=1.0,
            p_value=1.0,
        ),
        control=None,
        understood=(),
        steps=(),
        warnings=(),
        provenance=Provenance(
            model_sha256="0" * 64,
            dataset_sha256=None,
            artifacts_sha256={},
            seed=0,
            recipe={},
            versions={},
            cpu="any",
            cpu_count=2,
            threads=1,
        ),
    )


def a_layer() -> LayerReport:
    return LayerReport(
        name="logits",
        class_name="Dense",
        output_shape=(None, 3),
        parameter_count=15,
        nonzero_parameter_count=8,
        sparsity=0.5,
        bits=32,
        macs=12,
        weight_error=0.1,
    )


def changing_routes() -> set[str]:
    """The names of all routes that do more than answer."""
    return {route.name for route in ROUTES if not (route.methods or set()) <= SAFE_METHODS}


def _upload(
    api: Api,
    kind: UploadKind,
    name: str,
    file_format: str,
    facts: dict[str, Any],
    changes: dict[str, Any],
) -> str:
    values: dict[str, Any] = {
        "tenant_id": DEFAULT_TENANT,
        "id": new_id({UploadKind.MODEL: "mdl", UploadKind.DATASET: "dst"}[kind]),
        "kind": kind,
        "name": name,
        "format": file_format,
        "size_bytes": len(CONTENT),
        "sha256": stored(api, CONTENT),
        "status": UploadStatus.READY,
        "options": DatasetOptions(),
        "inspection": facts,
        "problem": None,
        "created_at": api.clock(),
    }
    upload = Upload(**{**values, **changes})
    api.services.uploads.store.add(a_change(), upload)
    return upload.id
