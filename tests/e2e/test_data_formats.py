"""Tables and pictures through the running stack: the door, the boxed inspector, a boxed job."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.client import Client
from app.jobs.job import JobState
from tests.app.datafiles.drawn import archive, encoded
from tests.app.datafiles.tables import parquet
from tests.e2e.stacks import MODEL, Up, penjing_up

# A minute; that the rows are those of an .npz, and that the boxed inspector reads such files, is
# shown quickly elsewhere.
pytestmark = pytest.mark.hostile
TABLE_MODEL = Path(__file__).parents[1] / "corpus" / "m01_ok.keras"
RECIPE = {"steps": [{"technique": "magnitude_pruning", "sparsity": 0.5}]}
ROWS = 60


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with penjing_up(tmp_path_factory.mktemp("stack") / "home") as stack:
        yield stack


def pictures() -> bytes:
    drawn = np.random.default_rng(2).integers(0, 256, (ROWS, 28, 28), dtype=np.uint8)
    return archive({f"{row % 10}/{row}.png": encoded(each) for row, each in enumerate(drawn)})


def table() -> bytes:
    values = np.random.default_rng(2).normal(size=(4, ROWS))
    columns = {f"x{place}": column for place, column in enumerate(values)}
    return parquet({"label": np.arange(ROWS) % 3, **columns})


@pytest.mark.parametrize(
    ("name", "content", "model", "note"),
    [
        ("digits.zip", pictures(), MODEL, "classes are numbered by the names of their folders"),
        ("table.parquet", table(), TABLE_MODEL, "12 of 60 rows were set aside for testing"),
    ],
)
def test_job_succeeds_on_data(
    up: Up, tmp_path: Path, name: str, content: bytes, model: Path, note: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with Client(up.url) as client:
        dataset = client.upload_dataset(path)
        assert dataset.status == "ready"
        job = client.submit(
            {
                "model_id": client.upload_model(model).id,
                "dataset_id": dataset.id,
                "recipe": RECIPE,
                "outputs": ["keras"],
                "control": False,
            }
        )
        ended = client.wait(job.id)
        assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
        report = client.report(job.id)
    assert report.baseline.samples == ROWS // 5
    assert report.provenance.dataset_sha256 == dataset.sha256
    assert any(note in said for said in report.understood)
