"""The demo, as a stranger types it; and what is there afterwards."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.reports.report import Report
from tests.e2e.stacks import penjing

LIMIT_S = 180


@dataclass(frozen=True)
class Demo:
    """One run of `penjing demo`."""

    home: Path
    result: dict[str, Any]
    news: str
    took_s: float

    @property
    def report(self) -> Report:
        return Report.model_validate(self.result["job"]["report"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    home = tmp_path_factory.mktemp("demo") / "home"
    began_at = time.monotonic()
    ended = penjing("demo", "--json", home=home, limit_s=2 * LIMIT_S)
    assert ended.returncode == 0, ended.stderr
    return Demo(home, json.loads(ended.stdout), ended.stderr, time.monotonic() - began_at)


def test_demo_makes_the_net_much_smaller_and_faster_at_little_cost(demo: Demo) -> None:
    report = demo.report
    assert demo.result["job"]["verdict"] == "met"
    assert report.baseline.samples == report.optimized.samples == 5000
    assert report.baseline.accuracy == pytest.approx(0.9940, abs=0.0005)
    assert report.delta.accuracy_drop is not None
    assert report.delta.accuracy_drop <= 0.005
    assert report.delta.compression_ratio >= 18
    assert report.delta.speedup is not None
    assert report.delta.speedup > 1.2
    assert report.control is not None


def test_demo_is_done_in_time(demo: Demo) -> None:
    assert demo.took_s < LIMIT_S


def test_demo_leaves_the_files_the_report_speaks_of(demo: Demo) -> None:
    artifacts = demo.result["files"]["artifacts"]
    assert set(artifacts) == {"keras", "tflite"}
    assert {path.parent for path in map(Path, artifacts.values())} == {demo.home / "demo"}
    found = {hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in artifacts.values()}
    assert found == {item["sha256"] for item in demo.result["job"]["artifacts"]}
    written = json.loads((demo.home / "demo" / "report.json").read_text())
    assert written == demo.report.model_dump(mode="json")


def test_demo_tells_its_progress_phase_by_phase(demo: Demo) -> None:
    for phase in ("loading", "baseline", "magnitude_pruning", "control"):
        assert phase in demo.news


def test_demo_leaves_its_job_in_the_home_for_the_next_stack(demo: Demo) -> None:
    assert not (demo.home / "stack.json").exists()
    ended = penjing("jobs", "list", "--json", home=demo.home)
    jobs = json.loads(ended.stdout)["items"]
    assert [(job["id"], job["state"]) for job in jobs] == [(demo.result["job"]["id"], "succeeded")]
