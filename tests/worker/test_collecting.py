"""Nothing is collected but plain files of the job's own folder, up to a size."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.blobs.store import BlobStore
from app.errors import Cancelled, EngineFault, StorageFull
from tests.worker.conftest import RESULT
from worker import collecting
from worker.collecting import MOST_ARTIFACTS, Collector, read_result
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
    return [one.size_bytes for one in collector(folder).keep(result)]


def collector(folder: JobFolder) -> Collector:
    """Whom nobody cancels."""
    return Collector(
        blobs=BlobStore(folder.path / "blobs"),
        folder=folder,
        most_bytes=LIMIT_BYTES,
        reserve_bytes=0,
        require_wanted=lambda: None,
    )


def stored(folder: JobFolder) -> list[Path]:
    return [path for path in (folder.path / "blobs").rglob("*") if path.is_file()]


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
    parts = iter(range(2))

    def require_wanted() -> None:
        if next(parts, None) is None:
            raise Cancelled("while it was copied")

    with pytest.raises(Cancelled):
        replace(collector(folder), require_wanted=require_wanted).keep(offering("out/a.tflite"))

    assert stored(folder) == []


def test_artifact_that_is_mostly_holes_is_refused_before_it_is_copied(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Collector, "_copied")
    make_holes(folder.outputs / "a.tflite")
    collects = replace(collector(folder), most_bytes=1 << 30)

    with pytest.raises(OutputLimitExceeded, match="most of them are holes"):
        collects.keep(offering("out/a.tflite"))


def test_artifact_of_holes_is_not_looked_through_when_nobody_wants_it_any_more(
    folder: JobFolder,
) -> None:
    make_holes(folder.outputs / "a.tflite")

    def require_wanted() -> None:
        raise Cancelled("before it was looked at")

    collects = replace(collector(folder), most_bytes=1 << 30, require_wanted=require_wanted)
    with pytest.raises(Cancelled):
        collects.keep(offering("out/a.tflite"))


def make_holes(path: Path) -> None:
    with path.open("wb") as file:
        for place in range(0, 64 << 20, 8 << 20):
            file.seek(place)
            file.write(os.urandom(4096))


def test_artifact_that_the_file_system_holds_compressed_is_kept(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "on_disk", lambda _: 0)
    (folder.outputs / "a.tflite").write_bytes(b"x" * 400)

    [made] = collector(folder).keep(offering("out/a.tflite"))

    assert collector(folder).blobs.path(made.sha256).read_bytes() == b"x" * 400


def test_artifact_that_would_take_of_the_reserve_is_refused_before_it_is_copied(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "COPY_BYTES", 1)
    monkeypatch.setattr("app.blobs.store.shutil.disk_usage", lambda _: SimpleNamespace(free=1400))
    (folder.outputs / "a.tflite").write_bytes(b"x" * 400)
    (folder.outputs / "b.tflite").write_bytes(b"x" * 401)
    asked: list[None] = []
    collects = replace(
        collector(folder), reserve_bytes=1000, require_wanted=lambda: asked.append(None)
    )

    with pytest.raises(StorageFull, match="1400 bytes are free, 1401 must be"):
        collects.keep(offering("out/b.tflite"))
    assert (asked, stored(folder)) == ([], [])
    assert len(collects.keep(offering("out/a.tflite"))) == 1


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
