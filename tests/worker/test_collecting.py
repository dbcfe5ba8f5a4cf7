"""Nothing is collected but plain files of the job's own folder, up to a size."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.blobs.store import BlobStore
from app.errors import Cancelled, EngineFault
from tests.worker.conftest import RESULT
from worker import collecting
from worker.collecting import MOST_ARTIFACTS, keep_artifacts, read_result
from worker.engine.order import Artifact, Result
from worker.errors import OutputLimitExceeded
from worker.job_folder import JobFolder

LIMIT_BYTES = 1000


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "secret.tflite").write_bytes(b"secret")
    return JobFolder.made_in(tmp_path)


def offering(path: str, filename: str = "a.tflite", times: int = 1) -> Result:
    made = Artifact(kind="tflite", format="tflite", path=Path(path), filename=filename)
    return RESULT.model_copy(update={"artifacts": (made,) * times})


def kept(folder: JobFolder, result: Result) -> list[int]:
    store = BlobStore(folder.path / "blobs")
    made = keep_artifacts(store, folder, result, LIMIT_BYTES, is_wanted)
    return [one.size_bytes for one in made]


def is_wanted() -> None:
    """Nobody cancels."""


def link_a_folder(folder: JobFolder) -> str:
    (folder.outputs / "inner").symlink_to(folder.path.parent)
    return "out/inner/secret.tflite"


def link_a_file(folder: JobFolder) -> str:
    (folder.outputs / "a.tflite").symlink_to(folder.path.parent / "secret.tflite")
    return "out/a.tflite"


def hold_a_zero(folder: JobFolder) -> str:
    return "out/a\0b.tflite"


def climb(folder: JobFolder) -> str:
    return "out/../../secret.tflite"


def be_absolute(folder: JobFolder) -> str:
    return str(folder.path.parent / "secret.tflite")


@pytest.mark.parametrize("lead_out", [link_a_folder, link_a_file, hold_a_zero, climb, be_absolute])
def test_artifact_that_lies_elsewhere_is_refused(
    folder: JobFolder, lead_out: Callable[[JobFolder], str]
) -> None:
    with pytest.raises(EngineFault, match="no plain file"):
        kept(folder, offering(lead_out(folder)))


def test_artifact_of_an_inner_folder_is_kept(folder: JobFolder) -> None:
    (folder.outputs / "inner").mkdir()
    (folder.outputs / "inner" / "a.tflite").write_bytes(b"tiny")

    assert kept(folder, offering("out/inner/a.tflite")) == [4]


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a\nb", "a" * 201])
def test_artifact_with_a_name_that_is_none_is_refused(folder: JobFolder, name: str) -> None:
    (folder.outputs / "a.tflite").write_bytes(b"tiny")

    with pytest.raises(EngineFault, match="name"):
        kept(folder, offering("out/a.tflite", name))


def test_artifacts_are_bounded_in_number_and_all_together(folder: JobFolder) -> None:
    (folder.outputs / "a.tflite").write_bytes(b"x" * 400)

    assert kept(folder, offering("out/a.tflite", times=2)) == [400, 400]
    with pytest.raises(OutputLimitExceeded, match="larger"):
        kept(folder, offering("out/a.tflite", times=3))
    with pytest.raises(OutputLimitExceeded, match="offers"):
        kept(folder, offering("out/a.tflite", times=MOST_ARTIFACTS + 1))


def test_artifact_is_not_copied_to_its_end_when_nobody_wants_it_any_more(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "COPY_BYTES", 1)
    (folder.outputs / "a.tflite").write_bytes(b"tiny")
    store, parts = BlobStore(folder.path / "blobs"), iter(range(2))

    def require_wanted() -> None:
        if next(parts, None) is None:
            raise Cancelled("while it was copied")

    with pytest.raises(Cancelled):
        keep_artifacts(store, folder, offering("out/a.tflite"), LIMIT_BYTES, require_wanted)

    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_report_without_end_is_refused(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "RESULT_LIMIT_BYTES", 10)
    (folder.outputs / "result.json").write_text("x" * 11)

    with pytest.raises(OutputLimitExceeded):
        read_result(folder)


def test_report_with_a_number_that_nobody_can_divide_is_refused(folder: JobFolder) -> None:
    sound = RESULT.model_dump_json()
    assert '"size_bytes":1,' in sound
    endless = sound.replace('"size_bytes":1,', f'"size_bytes":{"9" * 4000},')
    (folder.outputs / "result.json").write_text(endless)

    with pytest.raises(EngineFault, match="no readable result"):
        read_result(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_report_that_could_not_be_read_again_is_refused(folder: JobFolder, number: str) -> None:
    sound = RESULT.model_dump_json()
    ratio = f'"size_ratio":{RESULT.report.delta.size_ratio}'
    assert ratio in sound
    (folder.outputs / "result.json").write_text(sound.replace(ratio, f'"size_ratio":{number}'))

    with pytest.raises(EngineFault, match="no readable result"):
        read_result(folder)


def test_folder_of_states_takes_over_plain_files_alone(folder: JobFolder, tmp_path: Path) -> None:
    lasting = tmp_path / "checkpoints" / "job_1"
    lasting.mkdir(parents=True)
    (lasting / "training-1.npz").write_bytes(b"half a training")
    (lasting / "folder").mkdir()
    (lasting / "link").symlink_to(tmp_path / "secret.tflite")
    place = folder.states.stat().st_ino

    folder.keep_states_at(lasting)

    assert lasting.stat().st_ino == place
    assert [path.name for path in lasting.iterdir()] == ["training-1.npz"]
