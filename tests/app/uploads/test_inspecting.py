"""The inspector as a real child process."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.confinement import Confinement, command
from app.recipes.facts import DatasetOptions
from app.uploads import inspecting
from app.uploads.inspecting import CannotConfine, Inspector
from app.uploads.inspector.protocol import Inspection
from tests.app.datafiles.drawn import archive, folder
from tests.app.datafiles.tables import parquet
from tests.app.uploads import without_landlock

CORPUS = Path(__file__).parents[2] / "corpus"


def inspect(inspector: Inspector, name: str, file_format: str) -> Inspection:
    return asyncio.run(inspector.inspect(CORPUS / name, file_format, DatasetOptions()))


def children() -> set[str]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    return set(listed.stdout.split())


def test_inspect_reads_a_model(any_inspector: Inspector) -> None:
    inspection = inspect(any_inspector, "m01_ok.keras", "keras")
    assert inspection.model is not None
    assert inspection.model.parameter_count == 15


def test_inspect_reads_a_data_set(any_inspector: Inspector) -> None:
    inspection = inspect(any_inspector, "c12_bom_crlf.csv", "csv")
    assert inspection.dataset is not None
    assert inspection.options == DatasetOptions(label="label")


def test_inspect_reads_a_parquet_table(any_inspector: Inspector, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(parquet())
    inspection = asyncio.run(any_inspector.inspect(path, "parquet", DatasetOptions()))
    assert inspection.dataset is not None
    assert (inspection.dataset.train_rows, inspection.dataset.test_rows) == (32, 8)
    assert inspection.options == DatasetOptions(label="kind")


def test_inspect_reads_pictures(any_inspector: Inspector, tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    path.write_bytes(archive(folder(20)))
    inspection = asyncio.run(any_inspector.inspect(path, "images", DatasetOptions(scale=1 / 255)))
    assert inspection.dataset is not None
    assert inspection.dataset.labels[0].classes == ("cat", "dog")


def test_inspect_passes_a_refusal_on(any_inspector: Inspector) -> None:
    problem = inspect(any_inspector, "k01_lambda_marshal.keras", "keras").problem
    assert problem is not None
    assert (problem.code, problem.retryable) == ("rejected_upload", False)
    assert "Lambda" in problem.detail


def test_inspect_refuses_when_the_child_takes_too_long(inspector: Inspector) -> None:
    before = children()
    problem = inspect(replace(inspector, limit_s=0.01), "m01_ok.keras", "keras").problem
    assert problem is not None
    assert (problem.code, problem.detail) == (
        "rejected_upload",
        "reading the file took longer than 0.01 s",
    )
    # `ps` itself is a child while it looks.
    assert len(children()) == len(before)


def test_inspect_refuses_without_details_when_the_child_dies(inspector: Inspector) -> None:
    problem = inspect(replace(inspector, memory_bytes=2**20), "m01_ok.keras", "keras").problem
    assert problem is not None
    assert (problem.code, problem.detail) == (
        "rejected_upload",
        "the process that read the file died of it",
    )
    assert problem.hint is not None
    assert "Traceback" not in problem.model_dump_json()


def test_inspect_leaves_no_child_when_it_is_cancelled(inspector: Inspector) -> None:
    async def cancelled() -> None:
        reading = inspector.inspect(CORPUS / "m01_ok.keras", "keras", DatasetOptions())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reading, 0.02)

    before = children()
    asyncio.run(cancelled())
    assert len(children()) == len(before)


def test_inspect_goes_on_when_the_file_gets_another_name(
    any_inspector: Inspector, tmp_path: Path
) -> None:
    path = tmp_path / "upload"
    path.write_bytes((CORPUS / "m01_ok.keras").read_bytes())

    async def renamed() -> Inspection:
        task = asyncio.create_task(any_inspector.inspect(path, "keras", DatasetOptions()))
        await asyncio.sleep(0)
        path.rename(tmp_path / "blob")
        return await task

    assert asyncio.run(renamed()).model is not None


def test_inspect_reads_nothing_where_it_cannot_be_confined(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "command", without_landlock.command)
    with pytest.raises(CannotConfine) as refused:
        inspect(inspector, "m01_ok.keras", "keras")
    problem = refused.value.as_problem()
    assert (problem.code, problem.retryable) == ("cannot_confine", False)
    assert "penjing doctor" in (problem.hint or "")


def test_inspect_reads_unconfined_where_that_is_allowed(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "command", without_landlock.command)
    allowing = replace(inspector, allows_unconfined=True)
    assert inspect(allowing, "m01_ok.keras", "keras").model is not None


# What somebody who has taken the process over would try first.
TAKEN_OVER = """
import json, os, resource, sys, threading

def tried(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "done"

room = json.loads(sys.argv[1])["room"]
most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
thread = threading.Thread(target=int)
answers = {
    "start a process": tried(os.fork),
    "start a program": tried(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "make a file": tried(lambda: open(os.path.join(sys.argv[2], "left"), "w")),
    "list what is there": tried(lambda: os.listdir(sys.argv[2])),
    "fill the room": tried(lambda: os.pwrite(room, b"x", most - 1)),
    "overfill it": tried(lambda: os.pwrite(room, b"x", most)),
    "start a thread": tried(thread.start),
}
problem = {"code": "x", "title": "", "detail": json.dumps(answers), "stage": None}
problem |= {"errors": [], "retryable": False, "hint": None}
print(json.dumps({"problem": problem}))
"""


def test_inspection_starts_nothing_and_leaves_nothing(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_over(confinement: Confinement, program: Sequence[str], parent_pid: int) -> list[str]:
        order = program[-1]
        hostile = [sys.executable, "-c", TAKEN_OVER, order, str(inspector.scratch)]
        return command(confinement, hostile, parent_pid)

    monkeypatch.setattr(inspecting, "command", taken_over)
    found = inspect(inspector, "m01_ok.keras", "keras").problem
    assert found is not None
    assert json.loads(found.detail) == {
        "start a process": "Operation not permitted",
        "start a program": "Operation not permitted",
        "make a file": "Permission denied",
        "list what is there": "Permission denied",
        "fill the room": "done",
        "overfill it": "File too large",
        "start a thread": "done",
    }
    assert not any(inspector.scratch.iterdir())


def test_api_side_of_uploads_imports_no_arrays_and_no_tensorflow() -> None:
    program = (
        "import sys, app.uploads.service;"
        "print({'numpy', 'h5py', 'tflite', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "set()"


def test_inspect_waits_longer_for_a_file_the_larger_it_is(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "SLOWEST_BYTES_PER_S", 20)
    assert inspect(replace(inspector, limit_s=0.01), "m01_ok.keras", "keras").model is not None
