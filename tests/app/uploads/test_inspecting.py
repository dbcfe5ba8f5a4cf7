"""The inspector as a real child process."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.recipes.facts import DatasetOptions
from app.uploads.inspecting import Inspector
from app.uploads.inspector.order import Inspection, InspectionOrder

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


def test_inspector_ends_at_once_when_its_starter_is_gone() -> None:
    order = InspectionOrder(
        format="csv",
        options=DatasetOptions(),
        memory_bytes=2**30,
        cpu_s=10,
        file_bytes=2**20,
        parent=2**22 + 1,
    )
    child = subprocess.run(
        [sys.executable, "-m", "app.uploads.inspector", order.model_dump_json()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (child.returncode, child.stdout) == (128 + signal.SIGKILL, "")


def test_api_side_of_uploads_imports_no_arrays_and_no_tensorflow() -> None:
    program = (
        "import sys, app.uploads.service;"
        "print({'numpy', 'h5py', 'tflite', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
